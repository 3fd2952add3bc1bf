"""What systemd and a service say to each other: readiness, the watchdog, and sockets that were opened before us.

Protocols: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3). Nothing is imported for it: they are a datagram
and a few environment variables. Without systemd all of it does nothing.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import MutableMapping
from dataclasses import dataclass

from ocr_tcp_lb.errors import LoadBalancerError

log = logging.getLogger(__name__)

FIRST_FD = 3  # SD_LISTEN_FDS_START
ADMIN_NAME = "admin"  # FileDescriptorName= of the socket that is for the admin listener
Environment = MutableMapping[str, str]


class ActivationError(LoadBalancerError):
    """A socket was passed that clients cannot be accepted from."""


@dataclass(frozen=True, slots=True)
class Activation:
    """The listening sockets that were passed; both empty: there was no activation."""

    clients: tuple[socket.socket, ...] = ()
    admin: tuple[socket.socket, ...] = ()


def passed_sockets(environment: Environment = os.environ, first_fd: int = FIRST_FD) -> Activation:
    """Take over the sockets that systemd opened for this process; raises ActivationError.

    The variables are removed, so that no child believes they are meant for it. Sockets named `admin` are for the
    admin listener, all others for clients.
    """
    pid = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if not count.isdecimal() or pid != str(os.getpid()):
        return Activation()
    clients: list[socket.socket] = []
    admin: list[socket.socket] = []
    for place, fd in enumerate(range(first_fd, first_fd + int(count))):
        name = names[place] if place < len(names) else ""
        sock = _adopt(fd, name)
        if name == ADMIN_NAME:
            admin.append(sock)
        else:
            clients.append(sock)
    return Activation(tuple(clients), tuple(admin))


def _adopt(fd: int, name: str) -> socket.socket:
    """Make a Python socket of a descriptor, set as our own listening sockets are."""
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        is_listening = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ActivationError(f"descriptor {fd} ({name}) was passed, but is no socket: {error.strerror}") from error
    if not is_listening:
        sock.detach()
        raise ActivationError(f"socket {fd} ({name}) was passed, but is not listening; ListenStream= makes it so")
    sock.setblocking(False)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
    return sock


class Notifier:
    """Tells the service manager how we are; does nothing where there is none."""

    def __init__(self, environment: Environment = os.environ) -> None:
        self._watchdog_s = _watchdog_s(environment)
        self._timer: asyncio.TimerHandle | None = None
        self._sock: socket.socket | None = None
        self._status = ""
        path = environment.pop("NOTIFY_SOCKET", "")
        if path[:1] in ("/", "@"):
            self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._sock.setblocking(False)
            self._address = "\0" + path[1:] if path.startswith("@") else path

    def ready(self, status: str) -> None:
        """Clients are accepted, or a reload is done."""
        self._status = status
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it. systemd compares the time with that of its signal."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """Draining begins."""
        self._status = status
        self._tell("STOPPING=1", f"STATUS={status}")

    def say(self, status: str) -> None:
        """Change the line that `systemctl status` shows; the same line again is not sent."""
        if status != self._status:
            self._status = status
            self._tell(f"STATUS={status}")

    def feed_watchdog(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on, say twice an interval that the loop turns. A loop that is blocked is a dead service."""
        if self._watchdog_s and self._sock is not None:
            self._tell("WATCHDOG=1")
            self._timer = loop.call_later(self._watchdog_s / 2, self.feed_watchdog, loop)

    def _tell(self, *lines: str) -> None:
        if self._sock is None:
            return
        try:
            self._sock.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.warning("cannot tell systemd %s: %s", lines[0], error.strerror)

    def close(self) -> None:
        """Fall silent."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def _watchdog_s(environment: Environment) -> float:
    """The interval that we must not be silent for; 0: nobody waits. The variables are removed."""
    microseconds = environment.pop("WATCHDOG_USEC", "")
    pid = environment.pop("WATCHDOG_PID", str(os.getpid()))
    return int(microseconds) / 1e6 if microseconds.isdecimal() and pid == str(os.getpid()) else 0.0
