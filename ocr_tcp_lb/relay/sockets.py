"""Listening sockets: opened for the addresses that an operator wrote, all or none, with what is wrong in words."""

import errno
import os
import socket
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from ocr_tcp_lb.config import Address, TcpAddress, UnixAddress
from ocr_tcp_lb.errors import LoadBalancerError

BACKLOG = 4096  # the kernel cuts it to net.core.somaxconn
ANY_HOST = ("0.0.0.0", "::")
NO_SUCH_ADDRESS = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class ListenError(LoadBalancerError):
    """An address cannot be listened on."""


def open_listeners(addresses: Sequence[Address]) -> list[socket.socket]:
    """Bind and listen on every address; raises ListenError, with nothing left open, if one fails.

    An empty host gives one IPv4 and one IPv6 socket (the latter where the machine has IPv6), so that clients
    show up with their real address and not as `::ffff:...`.
    """
    opened: list[socket.socket] = []
    try:
        for address in addresses:
            try:
                opened += _open(address)
            except OSError as error:
                raise ListenError(_explain(address, error)) from error
    except BaseException:
        discard(opened)
        raise
    return opened


def open_missing(address: Address, had: Sequence[Address]) -> list[socket.socket]:
    """Bind and listen on those parts of an address that are not among those we listen on; raises ListenError."""
    parts = parts_of(address)
    missing = [part for part in parts if not any(is_at(one, part) for one in had)]
    if len(missing) == len(parts):
        return open_listeners([address])
    try:
        return open_listeners(missing)
    except ListenError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_SUCH_ADDRESS:
            return []  # a machine without IPv6
        raise


def parts_of(address: Address) -> list[Address]:
    """The address as one for each of its sockets; a name may have several, and no host means every one."""
    if isinstance(address, UnixAddress):
        return [address]
    if not address.host:
        return [TcpAddress(host, address.port) for host in ANY_HOST]
    try:
        return [TcpAddress(str(sockaddr[0]), address.port) for _, sockaddr in _look_up(address)]
    except OSError:  # who is to listen there will say what is wrong
        return [address]


def is_at(address: Address, part: Address) -> bool:
    """Whether who listens at `address` serves this part of what is wanted; port 0 is any."""
    if isinstance(part, UnixAddress) or isinstance(address, UnixAddress):
        return part == address
    return part.host == address.host and part.port in (0, address.port)


def discard(opened: Iterable[socket.socket]) -> None:
    """Close sockets that we opened and nobody uses, and remove the files of unix sockets."""
    for sock in opened:
        address = address_of(sock)
        if isinstance(address, UnixAddress):
            SocketFile(address.path).remove()
        sock.close()


def _look_up(address: TcpAddress) -> Iterable[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """Find the families and socket addresses of a host that is to be listened on."""
    flags = socket.AI_PASSIVE | socket.AI_NUMERICSERV
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags)
    return dict.fromkeys((one[0], one[4]) for one in found)


def _open(address: Address) -> list[socket.socket]:
    if isinstance(address, UnixAddress):
        return [_open_unix(address.path)]
    if address.host:
        return _open_all(_look_up(address))
    first = _open_tcp(socket.AF_INET, ("", address.port))
    try:
        second = _open_tcp(socket.AF_INET6, ("::", first.getsockname()[1]))
    except OSError as error:
        if error.errno in NO_SUCH_ADDRESS:
            return [first]  # a machine without IPv6
        first.close()
        raise
    return [first, second]


def _open_all(found: Iterable[tuple[socket.AddressFamily, tuple[Any, ...]]]) -> list[socket.socket]:
    """Listen on all addresses of a name that this machine has: `localhost` may say ::1 where there is no IPv6."""
    opened: list[socket.socket] = []
    missing: OSError | None = None
    for family, sockaddr in found:
        try:
            opened.append(_open_tcp(family, sockaddr))
        except OSError as error:
            if error.errno not in NO_SUCH_ADDRESS:
                for sock in opened:
                    sock.close()
                raise
            missing = error
    if missing is not None and not opened:
        raise missing
    return opened


def _open_tcp(family: socket.AddressFamily, sockaddr: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Accepted sockets inherit it: no system call for each.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        sock.bind(sockaddr)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _open_unix(path: str) -> socket.socket:
    """Listen on a path; a socket file that nobody listens on any more (after a crash) is replaced."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_socket(path):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
                caller.setblocking(False)  # who listens may be stopped, with a full backlog
                if caller.connect_ex(path) == errno.ECONNREFUSED:
                    os.unlink(path)
        sock.setblocking(False)
        sock.bind(path)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _is_socket(path: str) -> bool:
    return os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode)


def _explain(address: Address, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE if isinstance(address, UnixAddress) and not _is_socket(address.path):
            return f"cannot listen on {address}: there is something that is no socket; choose another path"
        case errno.EADDRINUSE:
            return f"cannot listen on {address}: already in use; stop what listens there or choose another --listen"
        case errno.EACCES if isinstance(address, TcpAddress):
            return f"cannot listen on {address}: ports below 1024 need privileges; choose a higher one"
        case _:
            return f"cannot listen on {address}: {error.strerror or error}"


def address_of(sock: socket.socket) -> Address:
    """Where a socket listens, with the real port."""
    name = sock.getsockname()
    return UnixAddress(name) if sock.family == socket.AF_UNIX else TcpAddress(name[0], name[1])


class SocketFile:
    """The file of a unix socket that we made, to be removed while that is open: then its number stays its own."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._identity = self._look()

    def _look(self) -> tuple[int, int] | None:
        try:
            about = os.stat(self._path)
        except OSError:  # somebody removed it
            return None
        return about.st_dev, about.st_ino

    def remove(self) -> None:
        """Remove it, unless another one has taken its place."""
        if self._identity is not None and self._look() == self._identity:
            with suppress(OSError):
                os.unlink(self._path)
