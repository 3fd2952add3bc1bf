"""Connections to one backend: kept alive while idle, and checked before they are used again; `connecting` makes them.

An idle connection stays registered with the loop, so the moment the backend closes it (or says something that
nobody asked for) it is dropped. What cannot be seen that way, a close between the last look and the first byte
sent, is looked for once more in `take`, unless the last reply came only milliseconds ago. Bytes that nobody asked
for are looked for always: the next client would take them for its reply. Python servers close idle connections
early (gunicorn's default is 2 s, uvicorn's 5 s), hence `max_idle_s`. Which connections may be kept at all is said by
`may_be_kept`.
"""

import asyncio
import socket
import struct
import sys
import time
from typing import Final, NamedTuple

from ocr_tcp_lb.config import BackendConfig
from ocr_tcp_lb.relay.poller import Poller
from ocr_tcp_lb.relay.readiness import Channel, Fires, Wakeup
from ocr_tcp_lb.relay.resolver import Resolver
from ocr_tcp_lb.wire.framing import Framing
from ocr_tcp_lb.wire.head import FIRST_REDIRECTION, ReplyHead, RequestHead

# No server that has read its request closes a connection on purpose so soon after its reply without saying so in it.
UNSEEN_S: Final = 0.005
BYTES_AT, TCP_INFO_BYTES = 120, 136  # linux/tcp.h: tcpi_bytes_acked, tcpi_bytes_received
TCP_ESTABLISHED, TCP_CLOSE = 1, 7  # net/tcp_states.h
HAS_TCP_INFO = hasattr(socket, "TCP_INFO") and sys.platform == "linux"
MOST_IDLE: Final = 512  # connections kept to one backend


def may_be_kept(request: RequestHead, reply: ReplyHead) -> bool:
    """Whether the connection of a whole exchange may serve another one: the backend says so, and has read the request.

    Who refuses or redirects may do so without reading the body, whatever it says of the connection: gunicorn's threads
    announce keep-alive and close a millisecond later, Python's http.server takes the body for the next request, and
    what it replies to that would be given to another client. A server that answers 2xx is trusted to have read it.
    """
    return reply.keep_alive and (
        reply.status < FIRST_REDIRECTION or not (request.content_length or request.framing is Framing.CHUNKED)
    )


class BackendConnection(Fires):
    """One connection to a backend; while idle, it is its own wake-up: whatever happens to it then ends it."""

    __slots__ = ("bytes_received", "bytes_sent", "channel", "idle_since", "is_introduced", "upstream")

    def __init__(self, upstream: "Upstream", channel: Channel) -> None:
        self.upstream = upstream
        self.channel = channel
        self.bytes_sent = 0  # in the exchanges that ended well
        self.bytes_received = 0  # the same; -1: nobody counted them
        self.idle_since = 0.0
        self.is_introduced = upstream.introduces_clients  # as one client's, by a PROXY header: it may serve no other

    @property
    def is_fresh(self) -> bool:
        """Whether no request was ever sent on it."""
        return self.bytes_sent == 0

    def count(self, sent: int, received: int | None = None) -> None:
        """Note what an exchange that ended well has moved; the kernel is asked for what nobody counted (0.6 us)."""
        self.bytes_sent += sent
        if received is not None:
            self.bytes_received += received
        else:
            info = _tcp_info(self.channel.sock)
            self.bytes_received = info.received if info is not None else -1

    def proves_untouched(self) -> bool:
        """Whether the kernel can prove that no byte of the present request reached the backend.

        The way a stale idle connection shows, mostly: the backend had closed before the bytes came, so its kernel
        answered them with a reset. What the kernel knows of that (tcp_info(7)): the reset, that an end of the stream
        had come before it (it counts as one byte received), and that the backend acknowledged nothing beyond the
        earlier exchanges (the SYN counts as one). Without the end it proves nothing: a backend that read the request
        and broke off at once may not have acknowledged it yet, and what a reset acknowledges is not looked at. False
        where any of it is not known.
        """
        info = _tcp_info(self.channel.sock)
        return (
            info is not None
            and info.state == TCP_CLOSE
            and info.acknowledged <= self.bytes_sent + 1
            and info.received == self.bytes_received + 1
        )

    def proves_taken(self) -> bool:
        """Whether the kernel can prove that the backend's kernel took some of the present request before it closed.

        It acknowledged more than the earlier exchanges, and would have answered with a reset had it closed before.
        """
        info = _tcp_info(self.channel.sock)
        return info is not None and info.acknowledged > self.bytes_sent + 1

    def fire(self) -> None:
        """Something happened while idle: the backend closed, or spoke out of turn."""
        self.upstream.drop(self)


class Upstream:
    """Everything the relay knows of one backend: its address and its idle connections."""

    def __init__(self, poller: Poller, config: BackendConfig) -> None:
        self.poller = poller
        self.loop = loop = poller.loop
        self._configure(config)
        self._idle: list[BackendConnection] = []
        self.resolver = Resolver(loop, config.host, config.port)
        self._trim_timer: asyncio.TimerHandle | None = None
        self._is_retired = False

    def __repr__(self) -> str:
        return f"<Upstream {self.config.name} {self.config.url} idle={len(self._idle)}>"

    def take(
        self, wakeup: Wakeup, now: float | None = None, *, can_be_sent_again: bool = True
    ) -> BackendConnection | None:
        """The most recently used idle connection that is still alive, or None; `now` is for who knows the time.

        A request that cannot be sent again gets only one that was in use a moment ago, which can hardly be stale.
        """
        if self.introduces_clients:
            return None
        if now is None:
            now = time.monotonic()
        while self._idle:
            connection = self._idle[-1]
            is_recent = now - connection.idle_since < UNSEEN_S
            if not (is_recent or can_be_sent_again):
                return None
            del self._idle[-1]
            channel = connection.channel
            is_silent = not (channel.readable or channel.unread_bytes())
            if is_silent and (is_recent or _is_open(channel.sock)):
                channel.wakeup = wakeup
                return connection
            channel.close()
        return None

    def give_back(self, connection: BackendConnection, now: float | None = None) -> None:
        """Keep a connection whose last exchange ended cleanly, for a while; `now` is for who knows the time."""
        if self._max_idle_s <= 0 or len(self._idle) >= MOST_IDLE or self._is_retired or connection.is_introduced:
            connection.channel.close()
            return
        channel = connection.channel
        channel.wakeup = connection
        channel.readable = False
        if not channel.is_watched:
            channel.want_read()
        connection.idle_since = time.monotonic() if now is None else now
        self._idle.append(connection)
        if self._trim_timer is None:
            self._trim_timer = self.loop.call_later(self._max_idle_s, self._trim)

    def drop(self, connection: BackendConnection) -> None:
        """Close an idle connection."""
        if connection in self._idle:
            self._idle.remove(connection)
        connection.channel.close()

    def _trim(self) -> None:
        """Close what was idle for too long; the oldest stand first."""
        oldest = time.monotonic() - self._max_idle_s
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.pop(0).channel.close()
        self._trim_timer = None
        if self._idle:
            self._trim_timer = self.loop.call_later(self._idle[0].idle_since - oldest, self._trim)

    def adopt(self, config: BackendConfig) -> None:
        """Take another configuration of the same address, for attempts to come."""
        assert (config.host, config.port) == (self.config.host, self.config.port), "another address is another backend"
        self._configure(config)

    def _configure(self, config: BackendConfig) -> None:
        """Keep the configuration, and by itself what every request asks of it."""
        self.config = config
        self.name = config.name
        self.path = config.path.encode("ascii")
        self.introduces_clients = config.send_proxy is not None
        self._max_idle_s = config.max_idle_s

    def retire(self) -> None:
        """Keep no idle connections from now on: the backend has left the fleet."""
        self._is_retired = True
        self.close()

    def close(self) -> None:
        """Close all idle connections."""
        if self._trim_timer is not None:
            self._trim_timer.cancel()
            self._trim_timer = None
        for connection in self._idle:
            connection.channel.close()
        self._idle.clear()


class _TcpInfo(NamedTuple):
    """What tcp_info(7) says of a connection."""

    state: int
    acknowledged: int  # bytes, and the SYN
    received: int  # bytes, and the FIN if it came


def _tcp_info(sock: socket.socket) -> _TcpInfo | None:
    """None where it is not known: no TCP, no Linux, an old kernel."""
    if sock.family == socket.AF_UNIX or not HAS_TCP_INFO:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    except OSError:
        return None
    if len(info) < TCP_INFO_BYTES:
        return None
    return _TcpInfo(info[0], *struct.unpack_from("=QQ", info, BYTES_AT))


def _is_open(sock: socket.socket) -> bool:
    """Whether neither side has closed, as the kernel knows it; 0.5 us, where a peek that finds nothing raises."""
    if not HAS_TCP_INFO:
        return _is_quiet(sock)
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_ESTABLISHED


def _is_quiet(sock: socket.socket) -> bool:
    """Whether an idle connection is open and silent; a close or stray bytes both show up in a peek."""
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
