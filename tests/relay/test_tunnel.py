"""After 101 the connection belongs to another protocol: bytes both ways, each way ending on its own."""

import asyncio
import time

import pytest

from ocr_tcp_lb.config import BackendConfig, Timeouts
from ocr_tcp_lb.control import Operator

from .support import Balancer, House, Peer, pattern, until

UPGRADE = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


async def tunnel(
    house: House, *, early: bytes = b"", late: bytes = b"", **config: object
) -> tuple[Balancer, Peer, Peer]:
    """Two peers that speak to each other; `early` comes right behind the request, `late` behind the reply."""
    backend = house.backend()
    lb = house.balancer([backend], **config)
    client = await lb.client()
    await client.send(UPGRADE + early)
    peer = await backend.accept()
    request = await peer.read_head()
    assert request.values(b"upgrade") == [b"websocket"]
    assert request.values(b"connection") == [b"Upgrade"]
    await peer.send(SWITCHING + late)
    head = await client.read_head()
    assert head.status == 101
    assert head.values(b"upgrade") == [b"websocket"]
    return lb, client, peer


async def test_bytes_pass_both_ways(house: House) -> None:
    lb, client, peer = await tunnel(house, early=b"early ", late=b"late ")
    assert await client.read(5) == b"late "
    assert await peer.read(6) == b"early "
    for number in range(3):
        await client.send(b"ping%d" % number)
        assert await peer.read(5) == b"ping%d" % number
        await peer.send(b"pong%d" % number)
        assert await client.read(5) == b"pong%d" % number
    client.close()
    assert (await peer.read_to_end())[0] == b""
    peer.close()
    record = await lb.record()
    assert (record.ending, record.status) == ("tunnel", 101)
    assert (record.bytes_in, record.bytes_out) == (21, 20)


async def test_large_streams_pass_both_ways_at_once(house: House) -> None:
    _, client, peer = await tunnel(house)
    data = pattern(5_000_000)
    got = await asyncio.gather(client.send(data), peer.send(data[::-1]), peer.read(len(data)), client.read(len(data)))
    assert got[2] == data
    assert got[3] == data[::-1]


async def test_client_may_end_its_half_first(house: House) -> None:
    _, client, peer = await tunnel(house)
    await client.send(b"question")
    client.finish()
    assert await peer.read_to_end() == (b"question", "end")
    await peer.send(b"answer")
    assert await client.read(6) == b"answer"
    peer.close()
    assert await client.ended()


async def test_backend_may_end_its_half_first(house: House) -> None:
    _, client, peer = await tunnel(house)
    await peer.send(b"all I have")
    peer.finish()
    assert await client.read_to_end() == (b"all I have", "end")
    await client.send(b"thanks")
    assert await peer.read(6) == b"thanks"
    client.close()
    assert await peer.ended()


async def test_idle_tunnel_is_closed(house: House) -> None:
    lb, client, peer = await tunnel(house, timeouts=Timeouts(idle_s=0.05))
    await client.read_to_end()
    await peer.read_to_end()
    assert lb.in_flight() == 0


@pytest.mark.parametrize(
    "request_head", [UPGRADE.replace(b"Connection: Upgrade\r\n", b""), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"]
)
async def test_switch_that_was_not_asked_for_is_refused(house: House, request_head: bytes) -> None:
    backend = house.backend()
    lb = house.balancer([backend], retries=0)
    client = await lb.client()
    await client.send(request_head)
    peer = await backend.accept()
    assert (await peer.read_head()).values(b"upgrade") == []
    await peer.send(SWITCHING)
    assert (await client.read_message()).status == 502


@pytest.mark.parametrize("chosen", [b"chat", b"Talk/2", b"talk/2, CHAT"])
async def test_backend_may_choose_of_what_was_offered(house: House, chosen: bytes) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: chat, talk/2\r\n\r\n")
    peer = await backend.accept()
    await peer.read_head()
    await peer.send(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\nhello" % chosen)
    assert (await client.read_head()).values(b"upgrade") == [chosen]
    assert await client.read(5) == b"hello"


async def test_declined_upgrade_is_an_ordinary_reply(house: House) -> None:
    backend = house.backend()
    backend.answer(lambda request: b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\n")
    lb = house.balancer([backend])
    client = await lb.client()
    for _ in range(2):
        await client.send(UPGRADE)
        assert (await client.read_message()).status == 426
    assert lb.in_flight() == 0


async def test_backend_is_not_taken_for_one_that_hangs(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocr_tcp_lb.balance.silence.LEAST_S", 0.05)
    lb, client, peer = await tunnel(house)
    lb.hub.add(BackendConfig("b2", "127.0.0.1", 1))
    lb.hub.fleet.backends[0].service.learn(0.001, time.monotonic())
    for _ in range(3):
        lb.hub.review()
        await asyncio.sleep(0.06)
    assert not lb.hub.fleet.backends[0].is_silent
    client.close()
    peer.close()
    await until(lambda: lb.in_flight() == 0)
    assert lb.hub.fleet.backends[0].replying == 0


async def test_tunnels_that_stand_open_keep_nobody_out(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    clients = [await lb.client() for _ in range(10)]
    for client in clients:
        await client.send(UPGRADE)
        peer = await backend.accept()
        await peer.read_message()
        await peer.send(SWITCHING)
        assert (await client.read_head()).status == 101
    await until(lambda: lb.in_flight() == 0)
    await clients[0].send(b"ping")
    assert await backend.peers[0].read(4) == b"ping"
    asking = await lb.client()
    await asking.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    peer = await backend.accept()
    await peer.read_message()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert (await asking.read_message()).body == b"ok"
    (member,) = lb.hub.fleet.backends
    assert member.tunnels == 10
    operator = Operator(lb.hub, lb.server)
    assert operator.do(["drain", "b1"]) == "backend b1 is draining; 0 in flight, 10 tunnels open"
    for client in clients:
        client.close()
    for peer in backend.peers[:10]:
        peer.close()
    await until(lambda: not member.tunnels)
    assert {(await lb.record(number)).ending for number in range(11)} <= {"tunnel", "ok"}


async def test_tunnels_do_not_pile_up_on_the_fastest_backend(house: House) -> None:
    backends = [house.backend(), house.backend()]
    for backend in backends:
        backend.answer(lambda request: SWITCHING)
    lb = house.balancer(backends)
    for member, service_s in zip(lb.hub.fleet.backends, (0.01, 0.1), strict=True):
        member.service.learn(service_s, time.monotonic())
    for _ in range(6):
        client = await lb.client()
        await client.send(UPGRADE)
        assert (await client.read_head()).status == 101
    assert [member.tunnels for member in lb.hub.fleet.backends] == [3, 3]
