"""The relay as a whole: limits on clients, every kind of listener, and an orderly end."""

import asyncio
import socket
import time
from pathlib import Path

import pytest

from ocr_tcp_lb.config import Limits, QueueConfig, TcpAddress, Timeouts, UnixAddress
from ocr_tcp_lb.relay.heads import LAST_CALL_S
from ocr_tcp_lb.relay.listener import ACCEPTS_A_TURN
from ocr_tcp_lb.relay.talk import LINGER_S

from .support import GET, OK, House, Peer, pattern, post, until


async def test_client_above_the_limit_is_answered_503_though_it_sent_a_body(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend], limits=Limits(connections=1))
    first = await lb.client()
    await first.send(GET)
    assert (await first.read_message()).status == 200
    second = await lb.client()
    await second.send(post(pattern(1_000_000)))
    got = await second.read_message()
    assert got.status == 503
    assert got.values(b"retry-after") == [b"1"]
    assert b"too_many_connections" in got.body
    second.finish()
    assert await second.ended(), "a reset would have destroyed the answer"
    record = await lb.record(1)
    assert (record.status, record.ending, record.backend) == (503, "too_many_connections", "-")
    first.close()
    await until(lambda: lb.server.connections == 0)
    third = await lb.client()
    await third.send(GET)
    assert (await third.read_message()).status == 200


async def test_unix_listener_serves(house: House, tmp_path: Path) -> None:
    backend = house.backend()
    backend.answer()
    address = UnixAddress(str(tmp_path / "lb.sock"))
    lb = house.balancer([backend], listen=[address])
    client = await lb.client(address)
    await client.send(GET)
    assert (await client.read_message()).status == 200
    assert (await lb.record()).client == "unix"


async def test_ipv6_listener_serves_and_names_the_client(house: House) -> None:
    backend = house.backend("::1")
    backend.answer()
    lb = house.balancer([backend], listen=[TcpAddress("::1", 0)])
    client = await lb.client()
    await client.send(GET)
    assert (await client.read_message()).status == 200
    assert (await lb.record()).client == "::1"
    assert backend.requests[0].values(b"x-forwarded-for") == [b"::1"]


async def test_ipv4_client_of_all_addresses_shows_its_own(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend], listen=[TcpAddress("", 0)])
    port = lb.server.addresses[0].port  # type: ignore[union-attr]
    client = await lb.client(TcpAddress("127.0.0.1", port))
    await client.send(GET)
    await client.read_message()
    assert (await lb.record()).client == "127.0.0.1"


async def test_drain_lets_go_of_idle_clients_and_finishes_the_others(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    idle, silent, busy = [await lb.client() for _ in range(3)]
    await idle.send(GET)
    peer = await backend.accept()
    await peer.read_message()
    await peer.send(OK)
    await idle.read_message()
    await busy.send(post(b"image"))
    await peer.read_message()
    await until(lambda: lb.server.connections == 3)
    drain = asyncio.ensure_future(lb.server.drain(5))
    assert await idle.ended()
    assert await silent.ended()
    assert not drain.done()
    await peer.send(OK)
    got = await busy.read_message()
    assert got.status == 200
    assert got.values(b"connection") == [b"close"]
    assert await busy.ended()
    assert await drain == 0


async def test_drain_finishes_what_waits_in_the_queue(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)])
    clients = [await lb.client() for _ in range(3)]
    for client in clients:
        await client.send(GET)
    await until(lambda: lb.waiting == 2)
    drain = asyncio.ensure_future(lb.server.drain(5))
    backend.answer()
    for client in clients:
        assert (await client.read_message()).status == 200
    assert await drain == 0


async def test_request_that_came_just_before_the_drain_is_served(house: House) -> None:
    """On a connection that was kept alive, or that nobody has accepted: the loop has not seen it yet."""
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend], queue=QueueConfig(size=3 * ACCEPTS_A_TURN))
    kept = await lb.client()
    await kept.send(GET)
    await kept.read_message()
    assert isinstance(lb.address, TcpAddress)
    drain = asyncio.ensure_future(lb.server.drain(5))  # runs before the loop looks at sockets again
    crowd = [socket.create_connection(("127.0.0.1", lb.address.port)) for _ in range(2 * ACCEPTS_A_TURN)]
    for sock in (*crowd, kept.sock):
        sock.send(GET)
        sock.setblocking(False)
    for client in (kept, *map(Peer, crowd)):
        got = await client.read_message()
        assert (got.status, got.values(b"connection")) == (200, [b"close"])
        client.close()
    assert await drain == 0


@pytest.mark.parametrize("is_new", [True, False], ids=["first request", "next request"])
async def test_request_that_is_on_its_way_when_the_drain_begins_is_served(house: House, is_new: bool) -> None:
    """The client is connected and has sent nothing yet that the balancer's machine has."""
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    client = await lb.client()
    if not is_new:
        await client.send(GET)
        assert (await client.read_message()).status == 200
    await until(lambda: lb.server.connections == 1)
    drain = asyncio.ensure_future(lb.server.drain(5))
    for _ in range(10):
        await asyncio.sleep(0)
    await client.send(GET)
    got = await client.read_message()
    assert (got.status, got.values(b"connection")) == (200, [b"close"])
    assert await drain == 0


async def test_drain_does_not_wait_for_who_has_been_quiet_for_long(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    mute, idle = await lb.client(), await lb.client()
    await idle.send(GET)
    await idle.read_message()
    await until(lambda: lb.server.connections == 2)
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 2 * LAST_CALL_S)
    drain = asyncio.ensure_future(lb.server.drain(5))
    for _ in range(10):
        await asyncio.sleep(0)
    assert drain.done()
    assert await mute.ended()
    assert await idle.ended()


async def test_quiet_client_is_let_go_before_a_short_drain_ends(house: House) -> None:
    lb = house.balancer([house.backend()], timeouts=Timeouts(drain_s=1.2))
    client = await lb.client()
    await until(lambda: lb.server.connections == 1)
    assert await lb.server.drain(1.2) == 0, "it was not cut off"
    assert await client.ended()


async def test_drain_takes_the_rest_of_a_request_that_has_begun(house: House) -> None:
    backend = house.backend()
    backend.answer(lambda request: OK)
    lb = house.balancer([backend])
    in_head, in_body = await lb.client(), await lb.client()
    await in_head.send(GET[:10])
    await in_body.send(post(b"image")[:-1])
    await until(lambda: lb.server.connections == 2)
    for _ in range(10):
        await asyncio.sleep(0)
    drain = asyncio.ensure_future(lb.server.drain(5))
    await asyncio.sleep(0)
    await in_head.send(GET[10:])
    await in_body.send(b"e")
    for client in (in_head, in_body):
        got = await client.read_message()
        assert (got.status, got.values(b"connection")) == (200, [b"close"])
    assert await drain == 0


async def test_drain_cuts_off_what_takes_too_long_and_counts_it(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(GET)
    await (await backend.accept()).read_message()
    assert await lb.server.drain(0.02) == 1
    assert (await lb.record()).ending == "cancelled"
    assert lb.in_flight() == 0
    assert (await client.read_to_end())[0] == b""


async def test_cut_off_ends_everything_at_once(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)], limits=Limits(connections=3))
    clients = [await lb.client() for _ in range(4)]
    for client in clients[:3]:
        await client.send(GET)
    await until(lambda: lb.waiting == 2)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert lb.server.cut_off() == 3
    assert loop.time() - began < LINGER_S
    assert lb.in_flight() == lb.waiting == 0


async def test_no_client_is_accepted_while_draining(house: House) -> None:
    lb = house.balancer([house.backend()])
    address = lb.address
    await lb.server.drain(1)
    try:
        client = await lb.client(address)
    except ConnectionRefusedError:
        return
    raise AssertionError(f"{client} was accepted")
