"""Clients that end their sending half, or leave, in every phase of an exchange."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from relay.support import GET, OK, Balancer, House, Peer, Stuffed, pattern, post, replaces_a_part, reply, until
from relay.test_resolver import Names

from ocr_tcp_lb.config import Limits, Timeouts
from ocr_tcp_lb.relay import attempt
from ocr_tcp_lb.relay.failures import ClientGone
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.request import Request
from ocr_tcp_lb.relay.upstream import Upstream

from .steps import few_turns, in_computation

SMALL_BUFFER = Limits(request_buffer_bytes=64 * 1024)


# Half-closed clients (RFC 9112 section 9.6). A reply's first byte, known whatever it will be, shows who is there.


@pytest.mark.parametrize("when", ["with the request", "before the reply"])
async def test_client_that_ends_its_sending_half_gets_its_reply(house: House, when: str) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(post(b"image"))
    if when == "with the request":
        client.finish()
    peer = await backend.accept()
    await peer.read_message()
    if when == "before the reply":
        client.finish()
    await few_turns()
    assert lb.in_flight() == 1
    await peer.send(reply(pattern(300_000)))
    assert (await client.read_final()).body == pattern(300_000)
    assert await client.ended()


async def test_half_closed_client_gets_all_replies_of_its_pipeline(house: House) -> None:
    lb, client, peer = await in_computation(house, GET)
    await client.send(GET + post(b"x"))
    client.finish()
    await few_turns()
    for _ in range(2):
        await peer.send(OK)
        assert (await client.read_final()).body == b"ok"
        await peer.read_message()
    await peer.send(OK)
    assert (await client.read_final()).body == b"ok"
    assert await client.ended()
    assert [record.status for record in lb.records] == [200, 200, 200]


async def test_half_closed_client_gets_its_reply_though_it_waited_in_the_queue(house: House) -> None:
    lb, first, peer = await in_computation(house)
    second = await lb.client()
    await second.send(GET)
    second.finish()
    await until(lambda: lb.waiting == 1)
    await few_turns()
    await peer.send(OK)
    await first.read_message()
    await peer.read_message()
    await peer.send(OK)
    assert (await second.read_final()).body == b"ok"


async def test_client_that_really_left_is_told_from_one_that_ended_its_half(house: House) -> None:
    lb, first, peer = await in_computation(house)
    second = await lb.client()
    await second.send(GET)
    await until(lambda: lb.waiting == 1)
    second.close()
    async with asyncio.timeout(1):
        await until(lambda: lb.waiting == 0)
    await peer.send(OK)
    await first.read_message()


OLD_GET = b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"


async def test_half_closed_client_of_http_1_0_gets_its_reply(house: House) -> None:
    lb, client, peer = await in_computation(house, OLD_GET)
    client.finish()
    assert await client.read(1) == b"H", "the first byte, which shows whether anybody is there"
    client.received = b"H"
    await peer.send(OK)
    got = await client.read_message()
    assert (got.start, got.body) == (b"HTTP/1.1 200 OK", b"ok")
    assert await client.ended()
    assert (await lb.record()).status == 200


async def test_client_of_http_1_0_that_left_the_queue_costs_nothing(house: House) -> None:
    lb, first, peer = await in_computation(house)
    second = await lb.client()
    await second.send(OLD_GET)
    await until(lambda: lb.waiting == 1)
    second.close()
    async with asyncio.timeout(1):
        await until(lambda: lb.waiting == 0)
    await peer.send(OK)
    await first.read_message()
    assert (await lb.record()).ending == "client_left"


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (OK, 200, b"ok"),
        (INTERIM + OK, 200, b"ok"),
        (reply(pattern(300_000)), 200, pattern(300_000)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 502, b""),
        (b"nonsense", 502, b""),
    ],
    ids=["small", "interim", "large", "chunked", "broken chunk", "nonsense"],
)
async def test_byte_that_went_ahead_is_not_sent_again(house: House, answer: bytes, status: int, body: bytes) -> None:
    lb, client, peer = await in_computation(house, post(b"image"))
    client.finish()
    assert await client.read(1) == b"H"
    client.received = b"H"
    await peer.send(answer)
    if answer.startswith(INTERIM):
        assert (await client.read_message()).status == 103
    got = await client.read_message()
    assert got.start.startswith(b"HTTP/1.1 %d " % status)
    assert got.body == body if body else b'"backend_broke"' in got.body
    assert await client.ended()
    assert (await lb.record()).status == status


async def test_byte_that_went_ahead_is_followed_by_no_end(house: House) -> None:
    lb, client, _ = await in_computation(house)
    client.finish()
    client.received = await client.read(1)
    lb.server.cut_off()
    assert await client.read_to_end() == (b"H", "reset")


async def test_half_closed_client_with_no_room_for_a_byte_gets_its_replies(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)])
    client = await lb.client()
    await client.send(post(b"first") + post(b"second"))
    peer = await backend.accept()
    await peer.read_message()
    (ours,) = lb.server._clients
    ours.channel.sock = Stuffed(ours.channel.sock, up_to=1)  # type: ignore[assignment]  # the probe finds no room
    client.finish()
    await few_turns()
    await peer.send(OK)
    assert (await client.read_message()).body == b"ok"
    assert (await peer.read_message()).body == b"second"
    await peer.send(OK)
    assert (await client.read_message()).body == b"ok"
    assert await client.ended()


# Clients that leave, in each phase


LEAVE = ["close", "reset", "finish"]
PHASES = ["connected", "head", "body", "stream", "queue", "backend", "reply"]


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("phase", PHASES)
async def test_client_that_leaves_costs_nothing_for_long(house: House, phase: str, leave: str) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)], limits=SMALL_BUFFER, timeouts=Timeouts(response_s=5))
    client = await lb.client()
    holder = await bring_to(phase, lb, backend, client)
    getattr(client, leave)()
    if holder is not None:
        await holder.send(OK if phase != "reply" else pattern(300_000))
        holder.close()
    backend.answer()
    async with asyncio.timeout(3):
        await until(lambda: lb.in_flight() == lb.waiting == 0)
    other = await lb.client()
    await other.send(GET)
    assert (await other.read_final()).status == 200


async def bring_to(phase: str, lb: Balancer, backend: object, client: Peer) -> Peer | None:
    """Bring the client to that phase; returns the connection of the backend that holds the slot, if one does."""
    assert hasattr(backend, "accept")
    match phase:
        case "head":
            await client.send(GET[:9])
        case "body":
            await client.send(post(b"image")[:-1])
        case "stream":
            await client.send(post(pattern(200_000))[:100_000])
            await backend.accept()
        case "queue":
            first = await lb.client()
            await first.send(GET)
            peer: Peer = await backend.accept()
            await client.send(GET)
            await until(lambda: lb.waiting == 1)
            return peer
        case "backend":
            await client.send(GET)
            peer = await backend.accept()
            await peer.read_message()
            return peer
        case "reply":
            await client.send(GET)
            peer = await backend.accept()
            await peer.read_message()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + pattern(300_000))
            await client.read_head()
            return peer
    await few_turns()
    return None


@pytest.mark.parametrize("size", [0, 100, 100_000])
async def test_slot_of_a_ghost_is_free_as_soon_as_its_reply_begins(house: House, size: int) -> None:
    lb, client, peer = await in_computation(house)
    client.reset()
    await few_turns()
    assert lb.in_flight() == 1
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + pattern(size))
    async with asyncio.timeout(1):
        await until(lambda: lb.in_flight() == 0)


@replaces_a_part
async def test_half_closed_client_that_leaves_late_costs_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocr_tcp_lb.relay.client.LOOKED_AFTER_S", (0.01, 0.02))
    lb, first, peer = await in_computation(house)
    second = await lb.client()
    await second.send(GET)
    second.finish()
    await until(lambda: lb.waiting == 1)
    await until(lambda: any(one.ahead for one in lb.server._clients))
    began = lb.hub.loop.time()
    await until(lambda: lb.hub.loop.time() - began > 0.1)  # long after the first looks
    assert lb.waiting == 1, "nobody has left"
    second.close()  # with the byte that went ahead unread: a reset
    await until(lambda: lb.waiting == 0)
    await peer.send(OK)
    await first.read_message()


async def test_ghost_keeps_its_slot_through_a_drain_while_somebody_waits_for_it(house: House) -> None:
    lb, first, peer = await in_computation(house)
    (backend,) = house.backends
    second = await lb.client()
    await second.send(GET)
    await until(lambda: lb.waiting == 1)
    first.reset()
    drain = asyncio.ensure_future(lb.server.drain(5.0))
    await few_turns()
    assert (lb.in_flight(), lb.waiting) == (1, 1)
    assert not backend.has_caller()
    await peer.send(OK)
    peer = await backend.accept()
    await peer.read_message()
    await peer.send(OK)
    assert (await second.read_message()).status == 200
    assert await drain == 0


async def test_client_that_leaves_before_a_retry_is_sent_leaves_no_ghost(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening_of, calls = attempt.opening_of, []

    def once(*about: Any) -> bytes:
        calls.append(about)
        if len(calls) > 1:
            raise ClientGone("it is reset while the second backend accepts")
        return opening_of(*about)

    monkeypatch.setattr(attempt, "opening_of", once)
    backends = house.backend(), house.backend()
    lb = house.balancer(backends)
    client = await lb.client()
    await client.send(GET)
    peer = await backends[0].accept()
    await peer.read_message()
    peer.close()
    await backends[1].accept()
    assert (await lb.record()).ending == "client_left"
    assert lb.in_flight() == 0


async def test_client_that_leaves_while_its_backend_accepts_has_nothing_sent(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening_of = attempt.opening_of

    def left_meanwhile(hub: Hub, request: Request, upstream: Upstream) -> bytes:
        client.reset()
        request.client.channel.readable = True  # as the poller tells in the same turn
        return opening_of(hub, request, upstream)

    monkeypatch.setattr(attempt, "opening_of", left_meanwhile)
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(post(b"image"))
    peer = await backend.accept()
    assert await peer.ended()
    assert (await lb.record()).ending == "client_left"
    assert lb.in_flight() == 0, "there is no ghost: the backend has no work"


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_client_that_leaves_while_a_name_is_looked_up_is_noticed(house: House, leave: str) -> None:
    backend = house.backend()
    lb = house.balancer([replace(backend.config("b1"), host="ocr.internal")])
    names, resolver = Names(), lb.upstream("b1").resolver
    resolver._loop = names  # type: ignore[assignment]
    client = await lb.client()
    await client.send(post(b"image"))
    await until(lambda: len(names.asked) == 1)
    getattr(client, leave)()
    async with asyncio.timeout(1):
        assert (await lb.record()).ending == "client_left"
    assert lb.in_flight() == 0
    names.answer("127.0.0.1")
    await until(lambda: resolver._lookup is None)
    assert not backend.has_caller()
