"""Connections to one backend: opened, kept, checked, dropped."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from bench.ports import free_port
from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.config import BackendConfig
from ocr_tcp_lb.relay import connecting
from ocr_tcp_lb.relay.connecting import connect
from ocr_tcp_lb.relay.failures import AttemptFailed, Refusal
from ocr_tcp_lb.relay.poller import LoopPoller
from ocr_tcp_lb.relay.readiness import Channel, Wakeup
from ocr_tcp_lb.relay.resolver import SocketAddress
from ocr_tcp_lb.relay.upstream import MOST_IDLE, BackendConnection, Upstream

from .support import House, Peer, ScriptedBackend, driven, until


def never() -> bool:
    return False


def opened(upstream: Upstream, has_expired: Callable[[], bool] = never) -> asyncio.Future[BackendConnection]:
    wakeup = Wakeup(asyncio.get_running_loop())
    return driven(wakeup, connect(upstream, wakeup, has_expired))


async def connected(upstream: Upstream, backend: ScriptedBackend) -> tuple[BackendConnection, Peer]:
    connection = await opened(upstream)
    return connection, await backend.accept()


def upstream_of(backend: ScriptedBackend, **more: object) -> Upstream:
    return Upstream(LoopPoller(asyncio.get_running_loop()), backend.config("b1", **more))


def take(upstream: Upstream) -> BackendConnection | None:
    return upstream.take(Wakeup(asyncio.get_running_loop()))


async def test_last_used_connection_is_taken_first(house: House) -> None:
    backend = house.backend()
    upstream = upstream_of(backend)
    first, _ = await connected(upstream, backend)
    second, _ = await connected(upstream, backend)
    upstream.give_back(first)
    upstream.give_back(second)
    assert take(upstream) is second
    assert take(upstream) is first
    assert take(upstream) is None
    first.channel.close()
    second.channel.close()


async def test_connection_that_the_backend_closes_is_dropped(house: House) -> None:
    backend = house.backend()
    upstream = upstream_of(backend)
    connection, peer = await connected(upstream, backend)
    upstream.give_back(connection)
    peer.close()
    await until(lambda: connection.channel.is_closed)
    assert take(upstream) is None
    upstream.close()


async def test_connection_on_which_the_backend_speaks_out_of_turn_is_dropped(house: House) -> None:
    backend = house.backend()
    upstream = upstream_of(backend)
    connection, peer = await connected(upstream, backend)
    upstream.give_back(connection)
    await peer.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    await until(lambda: connection.channel.is_closed)
    assert take(upstream) is None
    upstream.close()


async def test_idle_connections_are_closed_in_time(house: House) -> None:
    backend = house.backend()
    upstream = upstream_of(backend, max_idle_s=0.03)
    peers = []
    for _ in range(3):
        connection, peer = await connected(upstream, backend)
        upstream.give_back(connection)
        peers.append(peer)
    for peer in peers:
        assert await peer.ended()
    assert take(upstream) is None
    assert upstream._trim_timer is None


async def test_backend_without_idle_connections_gets_a_new_one_each_time(house: House) -> None:
    backend = house.backend()
    upstream = upstream_of(backend, max_idle_s=0.0)
    connection, peer = await connected(upstream, backend)
    upstream.give_back(connection)
    assert await peer.ended()
    assert take(upstream) is None


async def test_idle_connections_are_bounded(house: House) -> None:
    backend = house.backend()
    upstream = upstream_of(backend)
    connections = [(await connected(upstream, backend))[0] for _ in range(MOST_IDLE + 2)]
    for connection in connections:
        upstream.give_back(connection)
    assert len(upstream._idle) == MOST_IDLE
    upstream.close()
    assert all(connection.channel.is_closed for connection in connections)


async def test_refused_connection_has_sent_nothing() -> None:
    upstream = Upstream(LoopPoller(asyncio.get_running_loop()), BackendConfig("b1", "127.0.0.1", free_port()))
    with pytest.raises(AttemptFailed, match="cannot connect to b1") as failure:
        await opened(upstream)
    assert failure.value.outcome is Outcome.CONNECT_FAILED
    assert failure.value.nothing_sent


async def test_connection_to_itself_is_a_refused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may choose the port of a service that is down for the very socket that tries to reach it."""
    chosen = socket.socket()
    chosen.bind(("127.0.0.1", 0))
    chosen.setblocking(False)
    monkeypatch.setattr("ocr_tcp_lb.relay.connecting._new_socket", lambda family: chosen)
    upstream = Upstream(
        LoopPoller(asyncio.get_running_loop()), BackendConfig("b1", "127.0.0.1", chosen.getsockname()[1])
    )
    with pytest.raises(AttemptFailed, match="Connection refused"):
        await opened(upstream)


class Unassigned(socket.socket):
    """Whatever it is to be connected to, no address or no port can be assigned to it."""

    def connect_ex(self, address: object) -> int:
        return errno.EADDRNOTAVAIL


def unassigned(family: socket.AddressFamily) -> socket.socket:
    sock = Unassigned(family)
    sock.setblocking(False)
    return sock


async def test_running_out_of_ports_is_no_failure_of_the_backend(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "_new_socket", unassigned)
    with pytest.raises(Refusal) as refused:
        await opened(upstream_of(house.backend()))
    assert (refused.value.code, refused.value.status, refused.value.retry_after_s) == ("out_of_ports", 503, 1)


async def test_backend_that_no_address_of_this_machine_reaches_cannot_be_connected_to(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ::1 where there is no IPv6; `localhost` may mean it."""
    monkeypatch.setattr(connecting, "_new_socket", unassigned)
    monkeypatch.setattr(connecting, "_has_own_address_for", lambda family, address: False)
    with pytest.raises(AttemptFailed, match="Cannot assign requested address"):
        await opened(upstream_of(house.backend()))


async def test_connect_that_takes_too_long_has_sent_nothing(house: House) -> None:
    """A listener whose backlog is full lets a connect hang, as a host that is gone does."""
    loop = asyncio.get_running_loop()
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        upstream = Upstream(LoopPoller(loop), BackendConfig("b1", "127.0.0.1", full.getsockname()[1]))
        wakeup, expired = Wakeup(loop), False
        attempt = driven(wakeup, connect(upstream, wakeup, lambda: expired))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not attempt.done()
        expired = True
        wakeup.fire_soon()
        with pytest.raises(AttemptFailed, match="timed out") as failure:
            await attempt
        for filler in fillers:
            filler.close()
    assert failure.value.nothing_sent


async def test_cancelled_connect_leaves_no_socket(house: House) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        upstream = Upstream(LoopPoller(loop), BackendConfig("b1", "127.0.0.1", full.getsockname()[1]))
        wakeup = Wakeup(loop)
        attempt = driven(wakeup, connect(upstream, wakeup, never))
        for _ in range(5):
            await asyncio.sleep(0)
        wakeup.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        for filler in fillers:
            filler.close()


async def test_every_address_of_a_name_is_tried(house: House) -> None:
    backend = house.backend()
    upstream = Upstream(LoopPoller(asyncio.get_running_loop()), BackendConfig("b1", "localhost", backend.port))
    connection, _ = await connected(upstream, backend)  # ::1, if it comes first, refuses
    connection.channel.close()


async def test_address_at_which_nobody_answers_is_the_last_one_next_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = house.backend()
    upstream = Upstream(LoopPoller(asyncio.get_running_loop()), BackendConfig("b1", "two.invalid", backend.port))
    hole, good = (socket.AF_INET, ("127.0.0.2", backend.port)), (socket.AF_INET, ("127.0.0.1", backend.port))
    upstream.resolver._addresses = [hole, good]
    upstream.resolver._resolved_at = asyncio.get_running_loop().time()
    real = connecting._open

    async def open_one(family: socket.AddressFamily, address: SocketAddress, *more: Any) -> Channel:
        if address == hole[1]:
            raise TimeoutError(errno.ETIMEDOUT, "timed out")
        return await real(family, address, *more)

    monkeypatch.setattr(connecting, "_open", open_one)
    with pytest.raises(AttemptFailed, match="timed out"):
        await opened(upstream, lambda: True)
    assert upstream.resolver._addresses == [good, hole]
    connection, _ = await connected(upstream, backend)
    connection.channel.close()


async def test_ipv6_backend_is_reached(house: House) -> None:
    backend = house.backend("::1")
    upstream = upstream_of(backend)
    connection, _ = await connected(upstream, backend)
    connection.channel.close()
