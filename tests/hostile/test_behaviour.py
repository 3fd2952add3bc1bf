"""What takes more than one request and one reply: pipelines and expectations."""

import asyncio
import random

import pytest
from relay.support import GET, House, Message, Peer, chunked, reply

from ocr_tcp_lb.config import Limits

from .steps import few_turns

SMALL_BUFFER = Limits(request_buffer_bytes=64 * 1024)
EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"


# Pipelines (RFC 9112 section 9.3.2)


def mixed(number: int) -> bytes:
    """A request of some kind that tells its number."""
    body = b"body of %d" % number * number
    match number % 5:
        case 0:
            return b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number
        case 1:
            return b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (number, len(body), body)
        case 2:
            return b"POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%b" % (
                number,
                chunked(body, b"x"),
            )
        case 3:
            return b"HEAD /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number
    return b"PUT /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % number


def answer_of(request: Message) -> bytes:
    """A reply that tells whose it is; its framing changes from one to the next."""
    method, target, _ = request.start.split(b" ")
    number = int(target[1:])
    told = b"%b %b %d" % (method, target, len(request.body))
    if method == b"HEAD":
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % number
    if number % 4 == 0:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(told)
    return reply(told)


@pytest.mark.parametrize("seed", [None, 1, 2])
async def test_twenty_mixed_requests_in_a_pipeline_are_answered_in_order(house: House, seed: int | None) -> None:
    backends = [house.backend(), house.backend()]
    for backend in backends:
        backend.answer(answer_of)
    lb = house.balancer(backends)
    client = await lb.client()
    stream = b"".join(mixed(number) for number in range(20))
    sending = asyncio.ensure_future(send_cut(client, stream, seed))
    for number in range(20):
        got = await client.read_message(has_body=number % 5 != 3)
        size = 0 if number % 5 not in (1, 2) else len(b"body of %d" % number * number) + (number % 5 == 2)
        method = (b"GET", b"POST", b"POST", b"HEAD", b"PUT")[number % 5]
        assert got.body == (b"" if method == b"HEAD" else b"%b /%d %d" % (method, number, size))
    await sending
    assert [record.target for record in lb.records] == [b"/%d" % number for number in range(20)]


async def send_cut(client: Peer, stream: bytes, seed: int | None) -> None:
    """All at once, or in pieces of random sizes."""
    rng = random.Random(seed)
    while stream:
        size = len(stream) if seed is None else rng.randint(1, 90)
        await client.send(stream[:size])
        await asyncio.sleep(0)
        stream = stream[size:]


async def test_bytes_behind_a_refused_head_in_a_pipeline_are_not_served(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(GET + b"GET / HTTP/1.1\r\nHost : a\r\n\r\n" + GET)
    assert (await client.read_message()).status == 200
    assert (await client.read_message()).status == 400
    client.finish()
    assert await client.ended()
    assert len(backend.requests) == 1


# Expectations (RFC 9110 section 10.1.1)


async def test_client_that_waits_is_told_to_continue_once(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(EXPECTING % 5)
    assert (await client.read_head()).status == 100
    await client.send(b"hello")
    assert (await client.read_message()).status == 200
    assert backend.requests[0].body == b"hello"
    assert backend.requests[0].values(b"expect") == []


async def test_client_that_does_not_wait_is_served_with_one_final_reply(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(EXPECTING % 5 + b"hello" + GET)
    statuses = []
    while statuses.count(200) < 2:
        statuses.append((await client.read_message()).status)
    assert statuses in ([200, 200], [100, 200, 200])


async def test_too_large_expectation_is_refused_before_the_body(house: House) -> None:
    lb = house.balancer([house.backend()], limits=Limits(body_bytes=4))
    client = await lb.client()
    await client.send(EXPECTING % 5)
    assert (await client.read_message()).status == 413
    client.finish()
    assert await client.ended()


async def test_final_status_of_the_backend_spares_the_body(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=SMALL_BUFFER)
    client = await lb.client()
    await client.send(EXPECTING % 100_000)
    peer = await backend.accept()
    assert (await peer.read_head()).values(b"expect") == [b"100-continue"]
    await peer.send(reply(b"no", status=b"403 Forbidden"))
    got = await client.read_message()
    assert (got.status, got.values(b"connection")) == (403, [b"close"])
    client.finish()
    assert await client.ended()


async def test_expectation_of_http_1_0_is_not_answered(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send((EXPECTING % 5).replace(b"HTTP/1.1", b"HTTP/1.0"))
    await few_turns()
    await client.send(b"hello")
    assert (await client.read_message()).status == 200
