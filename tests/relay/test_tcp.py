"""L4 mode: a connection is the unit, whatever is spoken on it."""

import asyncio
import hashlib
import time
from dataclasses import replace

import pytest

from bench.ports import free_port
from ocr_tcp_lb.balance.health import State
from ocr_tcp_lb.config import BackendConfig, QueueConfig, Timeouts
from ocr_tcp_lb.relay import tcp as tcp_module

from .support import Balancer, House, Peer, ScriptedBackend, pattern, until


async def test_connection_is_passed_on_as_it_is(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], mode="tcp")
    client = await lb.client()
    await client.send(b"\x16\x03\x01 anything")
    peer = await backend.accept()
    assert await peer.read(12) == b"\x16\x03\x01 anything"
    await peer.send(b"back")
    assert await client.read(4) == b"back"
    client.finish()
    assert await peer.ended()
    peer.close()
    assert await client.ended()
    record = await lb.record()
    assert (record.method, record.backend, record.ending) == (b"TCP", "b1", "ok")
    assert (record.bytes_in, record.bytes_out) == (12, 4)


async def test_backend_may_speak_first_and_end_first(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], mode="tcp")
    client = await lb.client()
    peer = await backend.accept()
    await peer.send(b"220 hello")
    peer.finish()
    assert await client.read_to_end() == (b"220 hello", "end")
    await client.send(b"bye")
    assert await peer.read(3) == b"bye"
    client.close()
    assert await peer.ended()


async def test_large_streams_arrive_byte_exact_both_ways(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], mode="tcp")
    client = await lb.client()
    peer = await backend.accept()
    up, down = pattern(12_000_000), pattern(9_000_000)[::-1]
    got = await asyncio.gather(client.send(up), peer.send(down), peer.read(len(up)), client.read(len(down)))
    assert hashlib.sha256(got[2]).digest() == hashlib.sha256(up).digest()
    assert hashlib.sha256(got[3]).digest() == hashlib.sha256(down).digest()


async def test_connections_wait_for_told_limits_only(house: House) -> None:
    """Nothing can be learned from long connections: a limit of 1 at first would be one for ever."""
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends, mode="tcp")
    clients = [await lb.client() for _ in range(6)]
    accepted = [await backend.accept() for backend in backends for _ in range(3)]
    assert (lb.in_flight(), lb.waiting) == (6, 0)
    for end in (*clients, *accepted):
        end.close()


async def test_how_long_clients_stay_says_nothing_of_their_backend(house: House) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer([one.config(f"b{n}", concurrency=4) for n, one in enumerate(backends)], mode="tcp")
    for member, mean_s in zip(lb.hub.fleet.backends, (0.05, 6.0), strict=True):
        for _ in range(40):
            member.service.learn(mean_s, time.monotonic())
        lb.hub.adopt(member, replace(lb.hub.upstreams[member].config))  # so that the fleet looks at it
    clients = [await lb.client() for _ in range(8)]
    for _ in range(50):
        await asyncio.sleep(0)
    assert (lb.in_flight(), lb.waiting) == (8, 0)
    for client in clients:
        client.close()


async def test_connections_are_balanced(house: House) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends, mode="tcp")
    for _ in range(2):
        await lb.client()
    for backend in backends:
        await backend.accept()
    assert lb.in_flight() == 2


async def test_refused_connection_is_tried_elsewhere(house: House) -> None:
    backend = house.backend()
    dead = BackendConfig("dead", "127.0.0.1", free_port())
    lb = house.balancer([dead, backend.config("alive")], mode="tcp", policy="round-robin")
    for _ in range(2):
        client = await lb.client()
        await client.send(b"x")
        peer = await backend.accept()
        assert await peer.read(1) == b"x"
        client.close()
        assert await peer.ended()
        peer.close()
    assert sorted([(await lb.record(0)).attempts, (await lb.record(1)).attempts]) == [1, 2]


async def test_connection_waits_for_a_slot(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)], mode="tcp")
    first, second = await lb.client(), await lb.client()
    peer = await backend.accept()
    await until(lambda: lb.waiting == 1)
    await second.send(b"ahead")
    first.close()
    peer.close()
    peer = await backend.accept()
    assert await peer.read(5) == b"ahead"


async def test_connection_that_waits_too_long_is_reset(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)], mode="tcp", queue=QueueConfig(timeout_s=0.05))
    await lb.client()
    await until(lambda: lb.in_flight() == 1)
    second = await lb.client()
    assert await second.read_to_end() == (b"", "reset"), "nobody has taken its bytes"
    assert (await lb.record()).ending == "queue_timeout"


async def test_idle_connection_is_closed(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], mode="tcp", timeouts=Timeouts(idle_s=0.05))
    client = await lb.client()
    peer = await backend.accept()
    await client.read_to_end()
    await peer.read_to_end()
    assert (await lb.record()).ending == "idle_timeout"


async def talking(house: House, first: bytes) -> tuple[Balancer, Peer, Peer]:
    """A client whose first bytes, if any, its backend has heard."""
    backend = house.backend()
    lb = house.balancer([backend], mode="tcp")
    client = await lb.client()
    await client.send(first)
    peer = await backend.accept()
    assert await peer.read(len(first)) == first
    for _ in range(20):  # so that the balancer has seen the connection stand
        await asyncio.sleep(0)
    return lb, client, peer


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("first", [b"hello", b""], ids=["asked", "silent"])
async def test_backend_that_ends_without_a_word_is_broken_and_not_fast(house: House, how: str, first: bytes) -> None:
    lb, client, peer = await talking(house, first)
    getattr(peer, how)()
    await client.read_to_end()
    client.close()
    assert (await lb.record()).ending == "backend_broke"
    (member,) = lb.hub.fleet.backends
    assert (member.served, member.failed) == (0, 1)


@pytest.mark.parametrize("first", [b"GET", b""], ids=["asked", "silent"])
async def test_backend_that_gives_up_a_client_in_order_is_neither_broken_nor_fast(
    house: House, monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    """As servers do whose client does not send the rest of its head."""
    monkeypatch.setattr(tcp_module, "ABRUPT_S", 0.0)
    lb, client, peer = await talking(house, first)
    peer.close()
    assert await client.ended()
    client.close()
    assert (await lb.record()).ending == "ok"
    (member,) = lb.hub.fleet.backends
    assert (member.served, member.failed) == (0, 0)


async def test_time_that_the_client_takes_to_close_makes_a_backend_no_more_patient(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_module, "ABRUPT_S", 0.05)
    lb, client, peer = await talking(house, b"hello")
    peer.close()
    assert await client.ended()
    await asyncio.sleep(0.06)
    client.close()
    assert (await lb.record()).ending == "backend_broke"


async def call(lb: Balancer, backend: ScriptedBackend, how: str) -> None:
    """A client says something; the backend ends it in some way."""
    client = await lb.client()
    await client.send(b"hello")
    peer = await backend.accept()
    assert await peer.read(5) == b"hello"
    if how == "answer":
        await peer.send(b"welcome")
        assert await client.read(7) == b"welcome"
    ended = len(lb.records)
    (peer.reset if how == "reset" else peer.close)()
    await client.read_to_end()
    client.close()
    await lb.record(ended)


async def test_clients_that_are_hung_up_on_eject_nobody_while_others_are_served(house: House) -> None:
    """A scanner asks for a host that nginx does not know (`return 444`)."""
    backend = house.backend()
    spare = BackendConfig("spare", "127.0.0.1", free_port(), weight=0)
    lb = house.balancer([backend, spare], mode="tcp")
    for _ in range(3):
        for _ in range(4):
            await call(lb, backend, "close")
        await call(lb, backend, "answer")
    assert lb.hub.fleet.backends[0].health.ejections == 0


@pytest.mark.parametrize(("how", "calls"), [("close", 5), ("reset", 1)])
async def test_backend_that_hangs_up_on_everybody_is_ejected(house: House, how: str, calls: int) -> None:
    """As a proxy before a dead service does."""
    backend = house.backend()
    spare = BackendConfig("spare", "127.0.0.1", free_port(), weight=0)
    lb = house.balancer([backend, spare], mode="tcp")
    health = lb.hub.fleet.backends[0].health
    for _ in range(calls):
        assert health.state is State.UP
        await call(lb, backend, how)
    assert health.state is State.EJECTED


async def test_backend_that_only_listens_is_served_to_its_clients_end(house: House) -> None:
    lb, client, peer = await talking(house, b"a line for the log")
    client.finish()
    assert await peer.ended()
    peer.close()
    assert await client.ended()
    assert (await lb.record()).ending == "ok"
    (member,) = lb.hub.fleet.backends
    assert (member.served, member.service.mean_s) == (1, 0.0), "well, and of unknown speed"


async def test_connection_on_which_nothing_is_said_tells_nothing_of_its_backend(house: House) -> None:
    lb, client, peer = await talking(house, b"")
    client.close()
    assert await peer.ended()
    peer.close()
    assert (await lb.record()).ending == "ok"
    (member,) = lb.hub.fleet.backends
    assert (member.served, member.failed, member.service.mean_s) == (0, 0, 0.0)


async def test_client_that_breaks_off_frees_the_slot(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], mode="tcp")
    client = await lb.client()
    await client.send(b"x")
    peer = await backend.accept()
    await peer.read(1)
    client.reset()
    await peer.read_to_end()
    await lb.record()
    assert lb.in_flight() == 0


async def test_backend_that_breaks_off_frees_the_slot(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], mode="tcp")
    client = await lb.client()
    await client.send(b"x")
    peer = await backend.accept()
    assert await peer.read(1) == b"x"
    peer.reset()
    await client.read_to_end()
    await lb.record()
    assert lb.in_flight() == 0


async def test_connection_that_stays_open_does_not_keep_others_from_a_backend_that_came_back(house: House) -> None:
    port = free_port()
    lb = house.balancer([BackendConfig("b1", "127.0.0.1", port, concurrency=2)], mode="tcp")
    first = await lb.client()
    await until(lambda: lb.waiting == 1)
    backend = house.backend(port=port)
    await first.send(b"one")
    assert await (await backend.accept()).read(3) == b"one"
    second = await lb.client()
    await second.send(b"two")
    assert await (await backend.accept()).read(3) == b"two"


async def test_backend_of_a_long_connection_is_not_taken_for_one_that_hangs(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocr_tcp_lb.balance.silence.LEAST_S", 0.05)
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends, mode="tcp")
    for backend in lb.hub.fleet.backends:
        backend.service.learn(0.001, time.monotonic())
    client = await lb.client()
    await client.send(b"x")
    await until(lambda: lb.in_flight() == 1)
    for _ in range(3):
        lb.hub.review()
        await asyncio.sleep(0.06)
    assert not any(backend.is_silent for backend in lb.hub.fleet.backends)


async def test_backend_on_trial_that_accepts_and_closes_is_not_proven_by_that(house: House) -> None:
    """As a proxy before a dead service does: its back-off is to grow."""
    backend, other = house.backend(), house.backend()
    lb = house.balancer([backend, other], mode="tcp", policy="round-robin")
    member = lb.hub.fleet.backends[0]
    lb.hub.checked(member, False, 0.0)
    lb.hub.checked(member, True, 0.0)
    assert member.health.state is State.TRIAL
    clients = [await lb.client() for _ in range(2)]
    for client in clients:
        await client.send(b"x")
    peer = await backend.accept()
    await peer.read(1)
    assert member.health.state is State.TRIAL
    peer.close()
    for client in clients:
        client.close()
    await until(lambda: member.health.state is State.EJECTED)
    assert member.health.ejections == 2
