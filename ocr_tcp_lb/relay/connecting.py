"""Making a connection to a backend, in the caller's coroutine and within its deadline."""

import errno
import os
import socket
from collections.abc import Callable

from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.relay.failures import AttemptFailed, Refusal
from ocr_tcp_lb.relay.pacing import unpace
from ocr_tcp_lb.relay.readiness import OUT_OF_DESCRIPTORS, Channel, Wakeup
from ocr_tcp_lb.relay.resolver import SocketAddress
from ocr_tcp_lb.relay.upstream import BackendConnection, Upstream

LOWEST_EPHEMERAL = 1024  # net.ipv4.ip_local_port_range may begin here; by default at 32,768


async def connect(upstream: Upstream, wakeup: Wakeup, has_expired: Callable[[], bool]) -> BackendConnection:
    """Open a connection, trying each address of the host in turn, as far as the time allows.

    Raises AttemptFailed (nothing sent) when none of them accepts, or `has_expired()` turns true; Refusal when it is our
    fault: no file descriptor or no port is left.
    """
    failure: OSError | None = None
    lacks_port = False
    for family, address in await upstream.resolver.addresses(wakeup, has_expired):
        try:
            channel = await _open(family, address, upstream, wakeup, has_expired)
        except TimeoutError as error:
            failure = error
            upstream.resolver.put_last((family, address))
            if has_expired():
                break
        except OSError as error:
            failure = error
            lacks_port |= error.errno == errno.EADDRNOTAVAIL and _has_own_address_for(family, address)
        else:
            return BackendConnection(upstream, channel)
    if lacks_port:
        raise Refusal(503, "out_of_ports", f"the balancer has no port left for connections to {upstream.name}", 1)
    reason = failure.strerror or str(failure) if failure else "no address"
    raise AttemptFailed(
        Outcome.CONNECT_FAILED,
        f"cannot connect to {upstream.name} ({upstream.config.url}): {reason}",
        nothing_sent=True,
    ) from failure


def _new_socket(family: socket.AddressFamily) -> socket.socket:
    """A non-blocking socket; running out of descriptors is our fault, not the backend's. Raises Refusal."""
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno in OUT_OF_DESCRIPTORS:
            raise Refusal(503, "out_of_descriptors", "the balancer has no file descriptor left", 1) from error
        raise
    sock.setblocking(False)
    return sock


def _has_own_address_for(family: socket.AddressFamily, address: SocketAddress) -> bool:
    """Whether this machine has an address to reach that one from; without IPv6 it has none for ::1.

    connect(2) fails with EADDRNOTAVAIL either way, for a datagram socket only if not: it does not need the same ports.
    """
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            return sock.connect_ex(address) != errno.EADDRNOTAVAIL
    except OSError:  # out of descriptors, too
        return True


async def _open(
    family: socket.AddressFamily,
    address: SocketAddress,
    upstream: Upstream,
    wakeup: Wakeup,
    has_expired: Callable[[], bool],
) -> Channel:
    sock = _new_socket(family)
    channel = Channel(upstream.poller, sock, wakeup)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        unpace(sock, address[0])
        code = sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            channel.writable = False
            channel.want_write()
            while not channel.writable:
                if has_expired():
                    raise TimeoutError(errno.ETIMEDOUT, "timed out")
                await wakeup
            error = channel.connection_error()
            if error is not None:
                raise error
        elif code:
            raise OSError(code, os.strerror(code))
        if _is_to_itself(sock, address):
            raise OSError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    except BaseException:
        channel.reset_on_close()  # it may stand by now: nobody is to take it for an empty stream
        channel.close()
        raise
    return channel


def _is_to_itself(sock: socket.socket, address: SocketAddress) -> bool:
    """Whether the kernel gave the socket the very port that nobody listens on: then it is connected to itself.

    TCP's simultaneous open (RFC 9293 section 3.5) with oneself; once in 28,000 tries at a service that is down.
    """
    return address[1] >= LOWEST_EPHEMERAL and sock.getsockname()[:2] == address[:2]
