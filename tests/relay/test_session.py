"""One client's connection: heads in any cut, requests one after the other, and what is no request."""

import asyncio

import pytest

from ocr_tcp_lb.config import Limits, Timeouts

from .support import GET, OK, House, Message, post, reply, until


async def test_request_is_answered_and_logged(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(GET)
    got = await client.read_message()
    assert (got.status, got.body) == (200, b"ok")
    record = await lb.record()
    assert (record.method, record.target, record.status, record.backend) == (b"GET", b"/", 200, "b1")
    assert (record.bytes_in, record.bytes_out, record.attempts, record.ending) == (0, 2, 1, "ok")
    assert record.began <= record.asked <= record.leased <= record.connected <= record.answered <= record.ended


async def test_each_request_of_a_connection_is_balanced(house: House) -> None:
    backends = [house.backend() for _ in range(3)]
    for backend in backends:
        backend.answer()
    lb = house.balancer(backends, policy="round-robin")
    client = await lb.client()
    for _ in range(6):
        await client.send(GET)
        assert (await client.read_message()).status == 200
    assert [len(backend.requests) for backend in backends] == [2, 2, 2]
    assert [len(backend.peers) for backend in backends] == [1, 1, 1], "backend connections are kept alive"


async def test_pipelined_requests_are_answered_in_order(house: House) -> None:
    backends = [house.backend(), house.backend()]
    for backend in backends:
        backend.answer(lambda request: reply(b"<" + request.start + request.body + b">"))
    lb = house.balancer(backends, policy="round-robin")
    client = await lb.client()
    packet = b"".join(
        b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n
        if n % 3
        else b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n%03d" % (n, n)
        for n in range(40)
    )
    await client.send(packet)
    for n in range(40):
        body = (await client.read_message()).body
        assert body == (b"<GET /%d HTTP/1.1>" % n if n % 3 else b"<POST /%d HTTP/1.1%03d>" % (n, n))
    assert client.received == b""


async def test_head_may_arrive_byte_by_byte(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send_bytewise(GET)
    assert (await client.read_message()).status == 200
    assert backend.requests[0].start == b"GET / HTTP/1.1"


async def test_two_requests_cut_anywhere_give_the_same_two_answers(house: House) -> None:
    backend = house.backend()
    backend.answer(lambda request: reply(request.start + request.body))
    lb = house.balancer([backend])
    stream = post(b"0123456789") + GET
    for cut in range(1, len(stream)):
        client = await lb.client()
        await client.send(stream[:cut])
        if cut % 2:
            await until(lambda: lb.server.connections > 0)
        await client.send(stream[cut:])
        assert (await client.read_message()).body == b"POST / HTTP/1.10123456789"
        assert (await client.read_message()).body == b"GET / HTTP/1.1"
        client.close()


BAD = {
    "no method": (b" / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "length and chunked": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "signed length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", 400),
    "unknown coding": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "folded field": (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "huge head": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20000, 431),
}


@pytest.mark.parametrize(("head", "status"), BAD.values(), ids=BAD)
async def test_what_is_no_request_is_answered_and_goes_nowhere(house: House, head: bytes, status: int) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(head + GET)  # the good request behind it must never be seen as one
    got = await client.read_message()
    assert got.status == status
    assert got.values(b"content-type") == [b"application/json"]
    assert got.values(b"connection") == [b"close"]
    assert b'"error"' in got.body
    client.finish()
    assert await client.ended()
    record = await lb.record()
    assert record.status == status
    assert len(lb.records) == 1
    assert not backend.has_caller()


async def test_slow_head_is_answered_408(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], timeouts=Timeouts(head_s=0.05))
    client = await lb.client()
    await client.send(b"GET / HTTP/1.1\r\nHo")
    got = await client.read_message()
    assert got.status == 408
    client.close()
    assert (await lb.record()).ending == "head_timeout"


async def test_head_that_drips_is_not_given_more_time(house: House) -> None:
    lb = house.balancer([house.backend()], timeouts=Timeouts(head_s=0.05))
    client = await lb.client()
    await client.send(b"GET / HTTP/1.1\r\nX: ")
    answer = asyncio.ensure_future(client.read_message())
    while not answer.done():
        await client.send_bytewise(b"x")
        assert client.total_sent < 16000, "the head was never given up"
    assert answer.result().status == 408


async def test_silent_client_is_closed_without_a_word(house: House) -> None:
    lb = house.balancer([house.backend()], timeouts=Timeouts(head_s=0.05))
    client = await lb.client()
    assert await client.ended()
    assert lb.records == []


async def test_idle_client_is_closed_without_a_word(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend], timeouts=Timeouts(idle_s=0.05))
    client = await lb.client()
    await client.send(GET)
    assert (await client.read_message()).status == 200
    assert await client.ended()
    assert len(lb.records) == 1


@pytest.mark.parametrize("sent", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: a\r\n"])
async def test_client_that_leaves_before_its_head_is_whole_leaves_no_trace(house: House, sent: bytes) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(sent)
    client.finish()
    assert await client.ended()
    assert lb.records == []
    assert not backend.has_caller()


async def test_http_1_0_client_is_closed_after_its_reply(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(b"GET / HTTP/1.0\r\n\r\n")
    got = await client.read_message()
    assert got.values(b"connection") == [b"close"]
    assert await client.ended()


async def test_http_1_0_client_may_ask_to_be_kept(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    client = await lb.client()
    for _ in range(2):
        await client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        got = await client.read_message()
        assert got.values(b"connection") == [b"keep-alive"]


async def test_connection_close_is_honoured(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert (await client.read_message()).values(b"connection") == [b"close"]
    assert await client.ended()
    assert not any(name.lower() == b"connection" for name, _ in backend.requests[0].fields)


async def test_too_many_fields_are_refused(house: House) -> None:
    lb = house.balancer([house.backend()], limits=Limits(head_fields=10))
    client = await lb.client()
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 11 + b"\r\n")
    assert (await client.read_message()).status == 431


async def test_target_is_rewritten_to_the_path_of_the_backend_and_the_query_kept(house: House) -> None:
    backends = [house.backend(), house.backend()]
    for backend in backends:
        backend.answer()
    lb = house.balancer(
        [backends[0].config("b1", "/get_ocr_api"), backends[1].config("b2", "/get_ocr")], policy="round-robin"
    )
    client = await lb.client()
    for target in (b"/get_ocr?a=%2F&b=%zz?", b"/get_ocr_api?a=%2F&b=%zz?", b"/?a=%2F&b=%zz?", b"/other%20one?x"):
        for _ in backends:
            await client.send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.read_message()).status == 200
    own_paths = (b"/get_ocr_api", b"/get_ocr")
    for backend, own in zip(backends, own_paths, strict=True):
        expected = [b"GET " + own + b"?a=%2F&b=%zz? HTTP/1.1"] * 3 + [b"GET /other%20one?x HTTP/1.1"]
        assert [request.start for request in backend.requests] == expected


async def test_backend_learns_who_asks(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(b"GET / HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: 6.6.6.6\r\nX-Request-Id: abc-1\r\n\r\n")
    got = await client.read_message()
    request: Message = backend.requests[0]
    assert request.values(b"x-forwarded-for") == [b"127.0.0.1"]
    assert request.values(b"x-forwarded-host") == [b"shop"]
    assert request.values(b"x-request-id") == got.values(b"x-request-id") == [b"abc-1"]
    assert len(request.values(b"via")) == 1
    assert (await lb.record()).request_id == b"abc-1"
    assert OK.endswith(got.body)
