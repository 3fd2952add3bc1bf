"""Limits that keep one client from taking what belongs to all."""

import asyncio

import pytest
from relay.support import GET, OK, House, until

from ocr_tcp_lb.config import Limits, QueueConfig
from ocr_tcp_lb.relay import server as server_module


async def test_one_address_may_have_only_so_many_connections(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend], limits=Limits(connections_per_client=2))
    clients = [await lb.client() for _ in range(3)]
    for client, status in zip(clients, (200, 200, 429), strict=True):
        await client.send(GET)
        got = await client.read_message()
        assert got.status == status
    assert got.values(b"retry-after") == [b"1"]
    assert got.values(b"connection") == [b"close"]
    assert b"too_many_connections" in got.body
    clients[2].finish()
    assert await clients[2].ended()
    clients[0].close()
    await until(lambda: lb.server.connections == 1)
    again = await lb.client()
    await again.send(GET)
    assert (await again.read_message()).status == 200


async def test_refused_clients_of_one_address_take_no_places_from_others(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend], limits=Limits(connections=3, connections_per_client=1))
    crowd = [await lb.client() for _ in range(6)]
    for number, client in enumerate(crowd):
        await client.send(GET)
        assert (await client.read_message()).status == (429 if number else 200)
    assert lb.server.connections == 1, "the refused ones linger outside of the limit"


@pytest.mark.parametrize("limits", [Limits(connections=1), Limits(connections_per_client=1)])
async def test_client_whose_ghost_keeps_a_slot_may_come_again(house: House, limits: Limits) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)], limits=limits)
    client = await lb.client()
    await client.send(GET)
    peer = await backend.accept()
    await peer.read_message()
    client.reset()
    await until(lambda: lb.server.connections == 0)
    assert lb.in_flight() == 1, "its backend computes on"
    again = await lb.client()
    await again.send(GET)
    await until(lambda: lb.waiting == 1)
    assert lb.server.connections == 1
    await peer.send(OK)
    backend.answer()
    assert (await again.read_message()).status == 200
    third = await lb.client()
    assert (await third.read_message()).status in (429, 503), "it was counted out once"


async def test_refused_clients_are_bounded_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MOST_TURNED_AWAY", 2)
    lb = house.balancer([house.backend()], limits=Limits(connections_per_client=1))
    _first, *refused = [await lb.client() for _ in range(3)]
    for client in refused:
        assert (await client.read_message()).status == 429
    with pytest.raises(ConnectionResetError):  # at the connecting already, or at the first read
        await (await lb.client()).read(1)
    for client in refused:
        client.close()
    await until(lambda: len(lb.records) == 3)
    assert [record.status for record in lb.records] == [0, 429, 429]
    assert {record.ending for record in lb.records} == {"too_many_connections"}, "each has its line in the log"


async def test_requests_that_outlive_their_clients_are_bounded_too(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=Limits(connections=2), policy="round-robin")
    for _ in range(4):
        client = await lb.client()
        await client.send(GET)
        await (await backend.accept()).read_message()
        client.reset()
        await until(lambda: lb.server.connections == 0)
    one_more = await lb.client()
    assert (await one_more.read_message()).status == 503


async def test_connection_over_the_clients_limit_is_reset_in_tcp_mode(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], mode="tcp", limits=Limits(connections_per_client=1))
    first = await lb.client()
    await first.send(b"x")
    peer = await backend.accept()
    with pytest.raises(ConnectionResetError):  # at the connecting already, or at the first read
        await (await lb.client()).read(1)
    await peer.send(b"y")
    assert await first.read(1) == b"y"


async def test_chunks_of_one_byte_do_not_stop_the_others(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend], queue=QueueConfig(timeout_s=5))
    hostile, other = await lb.client(), await lb.client()
    await hostile.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    flood = asyncio.ensure_future(hostile.send(b"1\r\nx\r\n" * 400_000))
    loop = asyncio.get_running_loop()
    longest = 0.0
    for _ in range(10):
        began = loop.time()
        await other.send(GET)
        assert (await other.read_message()).status == 200
        longest = max(longest, loop.time() - began)
    hostile.close()
    flood.cancel()
    await asyncio.gather(flood, return_exceptions=True)
    assert longest < 0.5, "a turn is bounded"
