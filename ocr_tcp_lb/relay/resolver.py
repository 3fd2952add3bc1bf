"""Where a backend is: the addresses of its host, by one lookup at a time, however many wait for it.

An answer is fresh for `FRESH_S`; until it is `USABLE_S` old it still serves while a new lookup runs beside. So a name
service that hangs or is away keeps nobody waiting at first, and after that for no longer than the connect time-out.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.relay.failures import AttemptFailed
from ocr_tcp_lb.relay.readiness import Wakeup

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
SocketEndpoint = tuple[socket.AddressFamily, SocketAddress]
Found = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]]  # of `getaddrinfo`
FRESH_S = 10.0  # a service that moved (a container restarted) is found again within this time
USABLE_S = 60.0  # its old address may soon be another's


class Resolver:
    """The addresses of one host."""

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> None:
        self._loop = loop
        self._host = host
        self._port = port
        self._addresses: Sequence[SocketEndpoint] = _literal_address(host, port)
        self._is_literal = bool(self._addresses)
        self._last: SocketEndpoint | None = None  # the one that nobody answered at, lately
        self._resolved_at = 0.0
        self._lookup: asyncio.Future[Found] | None = None

    async def addresses(self, wakeup: Wakeup, has_expired: Callable[[], bool]) -> Sequence[SocketEndpoint]:
        """The addresses to try, in this order.

        Raises AttemptFailed (nothing sent) when there are none, or none were found before `has_expired()` turned true.
        """
        age_s = self._loop.time() - self._resolved_at
        if self._is_literal or (self._addresses and age_s < FRESH_S):
            return self._addresses
        lookup = self._look_up()
        if self._addresses and age_s < USABLE_S:
            return self._addresses
        lookup.add_done_callback(lambda _: wakeup.fire())
        while not lookup.done():
            if has_expired():
                raise self._failure("timed out")
            await wakeup
        self._take(lookup)  # the wake-up may be another's, before the callbacks of this one have run
        error = lookup.exception()
        if isinstance(error, OSError):
            if self._addresses:
                return self._addresses  # the name service is away: the last answer is better than none
            raise self._failure(error.strerror or str(error)) from error
        if error is not None:
            raise error
        return self._addresses

    def put_last(self, endpoint: SocketEndpoint) -> None:
        """Try the others first from now on: nobody answers there."""
        self._last = endpoint
        self._keep(self._addresses)

    def _keep(self, found: Sequence[SocketEndpoint]) -> None:
        self._addresses = sorted(found, key=lambda one: one == self._last)

    def _look_up(self) -> asyncio.Future[Found]:
        if self._lookup is None:
            found: Awaitable[Found] = self._loop.getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
            )
            self._lookup = asyncio.ensure_future(found)
            self._lookup.add_done_callback(self._take)
        return self._lookup

    def _take(self, lookup: asyncio.Future[Found]) -> None:
        if self._lookup is not lookup:
            return  # taken already
        self._lookup = None
        if not lookup.cancelled() and lookup.exception() is None:
            self._keep([(family, address) for family, _, _, _, address in lookup.result()])
            self._resolved_at = self._loop.time()

    def _failure(self, reason: str) -> AttemptFailed:
        return AttemptFailed(Outcome.CONNECT_FAILED, f"cannot resolve {self._host!r}: {reason}", nothing_sent=True)


def _literal_address(host: str, port: int) -> Sequence[SocketEndpoint]:
    """The address when the host is an IP address, which needs no name service."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return []
    if version == 4:
        return [(socket.AF_INET, (host, port))]
    return [(socket.AF_INET6, (host, port, 0, 0))]
