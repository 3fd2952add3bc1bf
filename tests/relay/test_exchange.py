"""One request and its answer: bodies, expectations, the queue, retries, and what the balancer answers itself."""

import asyncio
import json
import time

import pytest

from bench.ports import free_port
from ocr_tcp_lb.config import BackendConfig, FairBy, Limits, QueueConfig, Timeouts
from ocr_tcp_lb.relay.attempt import LET_DIE_S

from .support import GET, OK, House, Message, chunked, pattern, post, reply, until

SMALL_BUFFER = Limits(request_buffer_bytes=64 * 1024)


def hang_up(request: Message) -> bytes:
    raise ConnectionError


def code_of(message: Message) -> str:
    assert message.values(b"content-type") == [b"application/json"]
    return str(json.loads(message.body)["error"]["code"])


@pytest.mark.parametrize("size", [0, 1, 1000, 16 * 1024, 300_000])
async def test_body_arrives_as_it_was_sent(house: House, size: int) -> None:
    backend = house.backend()
    backend.answer(lambda request: reply(request.body))
    lb = house.balancer([backend])
    client = await lb.client()
    body = pattern(size)
    await client.send(post(body))
    assert (await client.read_message()).body == body
    assert (await lb.record()).bytes_in == size


async def test_body_may_arrive_in_pieces_of_any_size(house: House) -> None:
    backend = house.backend()
    backend.answer(lambda request: reply(request.body))
    lb = house.balancer([backend])
    client = await lb.client()
    for size in (1, 2, 7, 40):
        await client.send_bytewise(post(pattern(size)))
        assert (await client.read_message()).body == pattern(size)


@pytest.mark.parametrize("limits", [Limits(), SMALL_BUFFER], ids=["gathered", "streamed"])
async def test_chunked_body_arrives_as_it_was_sent(house: House, limits: Limits) -> None:
    backend = house.backend()
    backend.answer(lambda request: reply(request.body))
    lb = house.balancer([backend], limits=limits)
    client = await lb.client()
    chunks = [pattern(size) for size in (1, 70_000, 3, 200_000)]
    for _ in range(2):
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(*chunks))
        assert (await client.read_message()).body == b"".join(chunks)
    assert backend.requests[0].values(b"transfer-encoding") == [b"chunked"]


async def test_bytes_of_a_chunked_body_are_counted_with_its_framing(house: House) -> None:
    backend = house.backend()
    coded = b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"hello")
    backend.answer(lambda request: b"HTTP/1.1 200 OK\r\n" + coded)
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + coded)
    assert (await client.read_message()).body == b"hello"
    record = await lb.record()
    assert (record.bytes_in, record.bytes_out) == (15, 15)


@pytest.mark.parametrize("limits", [Limits(), SMALL_BUFFER], ids=["gathered", "streamed"])
async def test_request_behind_a_body_is_the_next_one(house: House, limits: Limits) -> None:
    backend = house.backend()
    backend.answer(lambda request: reply(request.start + request.body[-5:]))
    lb = house.balancer([backend], limits=limits)
    client = await lb.client()
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head + chunked(pattern(200_000)) + GET + post(pattern(150_000)) + GET)
    bodies = [(await client.read_message()).body for _ in range(4)]
    assert bodies == [
        b"POST / HTTP/1.1" + pattern(200_000)[-5:],
        b"GET / HTTP/1.1",
        b"POST / HTTP/1.1" + pattern(150_000)[-5:],
        b"GET / HTTP/1.1",
    ]


async def test_requests_behind_chunked_bodies_may_be_cut_anywhere(house: House) -> None:
    backend = house.backend()
    backend.answer(lambda request: reply(request.body))
    lb = house.balancer([backend], limits=SMALL_BUFFER)
    client = await lb.client()
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    stream = head + chunked(pattern(90_000)) + head + chunked(b"two") + GET
    for start in range(0, len(stream), 17_000):
        await client.send(stream[start : start + 17_000])
        for _ in range(3):
            await asyncio.sleep(0)
    bodies = [(await client.read_message()).body for _ in range(3)]
    assert bodies == [pattern(90_000), b"two", b""]


async def test_backend_is_not_bothered_before_the_body_is_whole(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client()
    request = post(pattern(100_000))
    await client.send(request[:-1])
    await until(lambda: lb.hub.slabs.used_bytes > 0)
    assert lb.in_flight() == 0
    assert not backend.has_caller()
    backend.answer()
    await client.send(request[-1:])
    assert (await client.read_message()).status == 200


async def test_body_beyond_the_buffer_is_streamed(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=SMALL_BUFFER)
    client = await lb.client()
    body = pattern(300_000)
    await client.send(post(body)[:200_000])
    peer = await backend.accept()
    head = await peer.read_head()
    assert head.values(b"content-length") == [b"300000"]
    assert await peer.read(150_000) == body[:150_000]
    assert lb.hub.slabs.used_bytes == 0, "what was streamed need not be kept"
    await client.send(post(body)[200_000:])
    assert await peer.read(150_000) == body[150_000:]
    await peer.send(OK)
    assert (await client.read_message()).body == b"ok"


async def test_body_is_streamed_when_the_memory_for_bodies_is_used_up(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=Limits(buffer_memory_bytes=300_000))
    waiting = await lb.client()
    await waiting.send(post(pattern(290_000))[:-1])
    await until(lambda: lb.hub.slabs.used_bytes >= 270_000)
    client = await lb.client()
    await client.send(post(pattern(100_000)))
    peer = await backend.accept()
    assert (await peer.read_message()).body == pattern(100_000)
    await peer.send(OK)
    assert (await client.read_message()).status == 200
    assert lb.hub.slabs.used_bytes <= 300_000


async def test_expectation_is_met_by_the_balancer_when_it_holds_the_body(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client()
    request = post(b"hello", b"Expect: 100-continue")
    await client.send(request[:-5])
    assert await client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert not backend.has_caller()
    await client.send(request[-5:])
    peer = await backend.accept()
    got = await peer.read_message()
    assert got.body == b"hello"
    assert got.values(b"expect") == []
    await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)  # a second 100 is not the client's business
    assert (await client.read_message()).status == 200


async def test_expectation_for_a_larger_body_is_the_backends_to_meet(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=SMALL_BUFFER)
    client = await lb.client()
    body = pattern(100_000)
    await client.send(post(body, b"Expect: 100-continue")[: -len(body)])
    peer = await backend.accept()
    assert (await peer.read_head()).values(b"expect") == [b"100-continue"]
    await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert (await client.read_head()).status == 100
    await client.send(body)
    assert await peer.read(len(body)) == body
    await peer.send(OK)
    assert (await client.read_message()).status == 200


async def test_backend_may_refuse_a_body_before_it_is_sent(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=SMALL_BUFFER)
    client = await lb.client()
    body = pattern(100_000)
    await client.send(post(body, b"Expect: 100-continue")[: -len(body)])
    peer = await backend.accept()
    await peer.read_head()
    await peer.send(reply(b"no", status=b"403 Forbidden"))
    got = await client.read_message()
    assert (got.status, got.body) == (403, b"no")
    assert got.values(b"connection") == [b"close"], "whether the body still comes is unknown"
    client.close()
    assert await peer.ended(), "a backend that waits for a body must not get another request instead"


async def test_backend_that_never_asks_for_a_body_that_waits_to_be_asked_for_is_silent(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=SMALL_BUFFER, timeouts=Timeouts(idle_s=0.05))
    client = await lb.client()
    await client.send(post(pattern(100_000), b"Expect: 100-continue")[:-100_000])
    await (await backend.accept()).read_head()
    got = await client.read_message()
    assert (got.status, code_of(got)) == (504, "backend_silent")
    assert lb.hub.fleet.backends[0].failed == 0, "no client is to have it left out by sending nothing"
    assert await client.ended()


@pytest.mark.parametrize(("asked", "sent"), [(True, 0), (True, 10), (False, 10)])
async def test_client_that_was_asked_for_its_body_or_began_it_is_to_go_on(house: House, asked: bool, sent: int) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=SMALL_BUFFER, timeouts=Timeouts(idle_s=0.05))
    client = await lb.client()
    await client.send(post(pattern(100_000), b"Expect: 100-continue")[: sent - 100_000])
    peer = await backend.accept()
    await peer.read_head()
    if asked:
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert (await client.read_final()).status == 408
    assert lb.hub.fleet.backends[0].failed == 0


@pytest.mark.parametrize("limits", [Limits(), SMALL_BUFFER], ids=["gathered", "streamed"])
async def test_client_need_not_wait_for_its_expectation(house: House, limits: Limits) -> None:
    backend = house.backend()
    backend.answer(lambda request: reply(request.body))
    lb = house.balancer([backend], limits=limits)
    client = await lb.client()
    body = pattern(100_000)
    await client.send(post(body, b"Expect: 100-continue"))
    assert (await client.read_final()).body == body


async def test_unknown_expectation_is_refused(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(post(b"", b"Expect: tea"))
    assert (await client.read_message()).status == 417
    assert not backend.has_caller()


async def test_declared_body_over_the_limit_is_refused_before_it_is_read(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=Limits(body_bytes=1000))
    client = await lb.client()
    await client.send(post(pattern(1001), b"Expect: 100-continue")[:100])
    got = await client.read_message()
    assert (got.status, code_of(got)) == (413, "body_too_large")
    assert got.values(b"connection") == [b"close"]
    assert not backend.has_caller()


@pytest.mark.parametrize("limits", [Limits(body_bytes=1000), Limits(body_bytes=200_000, request_buffer_bytes=1000)])
async def test_chunked_body_over_the_limit_is_refused(house: House, limits: Limits) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=limits)
    client = await lb.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.send(chunked(pattern(limits.body_bytes), b"x"))
    got = await client.read_message()
    assert (got.status, code_of(got)) == (413, "body_too_large")
    assert await client.ended()


async def test_body_at_the_limit_passes(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend], limits=Limits(body_bytes=1000))
    client = await lb.client()
    await client.send(post(pattern(1000)))
    assert (await client.read_message()).status == 200


async def test_answer_about_a_large_body_is_delivered_while_the_client_still_sends(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=Limits(body_bytes=1000))
    client = await lb.client()
    await client.send(post(pattern(3_000_000)))
    assert (await client.read_message()).status == 413
    assert await client.ended(), "a reset would have destroyed the answer"


@pytest.mark.parametrize("body", [b"zz\r\n", b"5\r\nhello!!", b"-1\r\n", b"5\nhello", b"ffffffffffffffffff\r\n"])
async def test_malformed_chunks_are_refused_and_reach_no_backend(house: House, body: bytes) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body + GET)
    got = await client.read_message()
    assert got.status == 400
    client.finish()
    assert await client.ended()
    assert not backend.has_caller()


async def test_malformed_chunk_in_a_streamed_body_is_no_end_of_it(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=SMALL_BUFFER)
    client = await lb.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.send(b"%x\r\n%b\r\n" % (100_000, pattern(100_000)))
    peer = await backend.accept()
    await peer.read_head()
    await peer.read_until(pattern(100_000)[-20:])
    await client.send(b"boo\r\n")
    assert (await client.read_message()).status == 400
    rest, _ = await peer.read_to_end()
    assert b"0\r\n\r\n" not in rest
    assert lb.hub.fleet.backends[0].failed == 0, "it was the client's fault"


async def test_slow_body_is_answered_408(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], timeouts=Timeouts(idle_s=0.05))
    client = await lb.client()
    await client.send(post(b"hello")[:-1])
    got = await client.read_message()
    assert (got.status, code_of(got)) == (408, "body_timeout")
    assert not backend.has_caller()


async def test_slow_streamed_body_is_answered_408(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=SMALL_BUFFER, timeouts=Timeouts(idle_s=0.05))
    client = await lb.client()
    await client.send(post(pattern(200_000))[:-1])
    peer = await backend.accept()
    await peer.read(199_000)
    assert (await client.read_message()).status == 408
    await peer.read_to_end()
    assert lb.hub.fleet.backends[0].failed == 0


@pytest.mark.parametrize("limits", [Limits(), SMALL_BUFFER], ids=["gathered", "streamed"])
async def test_client_that_leaves_inside_its_body_costs_no_answer(house: House, limits: Limits) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=limits)
    client = await lb.client()
    await client.send(post(pattern(100_000))[:-1])
    if limits is SMALL_BUFFER:
        peer = await backend.accept()
        await peer.read(99_000)
        client.close()
        assert (await peer.read_to_end())[1] in ("end", "reset")
    client.close()
    record = await lb.record()
    assert (record.ending, record.status) == ("client_left", 0)
    assert lb.hub.fleet.backends[0].failed == 0


async def test_client_that_sends_half_a_body_and_resets_is_noticed(house: House) -> None:
    lb = house.balancer([house.backend()])
    client = await lb.client()
    await client.send(post(pattern(100_000))[:30_000])
    client.reset()
    assert (await lb.record()).ending == "client_left"


# The queue


async def test_request_waits_for_a_slot_and_is_served_in_order(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)])
    clients = [await lb.client() for _ in range(3)]
    for number, client in enumerate(clients):
        await client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        await until(lambda number=number: lb.waiting == number and lb.in_flight() == 1)  # type: ignore[misc]
    peer = await backend.accept()
    for number, client in enumerate(clients):
        assert (await peer.read_message()).start == b"GET /%d HTTP/1.1" % number
        await peer.send(OK)
        assert (await client.read_message()).status == 200
    assert not backend.has_caller()


async def test_full_queue_answers_503_with_retry_after_and_keeps_the_connection(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)], queue=QueueConfig(size=1))
    first, second, third = [await lb.client() for _ in range(3)]
    await first.send(GET)
    await until(lambda: lb.in_flight() == 1)
    await second.send(GET)
    await until(lambda: lb.waiting == 1)
    for _ in range(2):
        await third.send(post(b"image"))
        got = await third.read_message()
        assert (got.status, code_of(got)) == (503, "queue_full")
        assert got.values(b"retry-after") == [b"1"]
        assert got.values(b"connection") == []
    backend.answer()
    for client in (first, second):
        assert (await client.read_message()).status == 200


async def test_full_queue_makes_room_for_a_client_with_fewer_and_tells_the_one_that_is_displaced(house: House) -> None:
    backend = house.backend()
    by_key = QueueConfig(size=2, fair_by=FairBy("header", "X-Key"))
    lb = house.balancer([backend.config("b1", concurrency=1)], queue=by_key)
    running, first, second, single = [await lb.client() for _ in range(4)]
    for number, client in enumerate((running, first, second)):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Key: batch\r\n\r\n")
        await until(lambda number=number: lb.in_flight() + lb.waiting == number + 1)
    await single.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Key: single\r\n\r\n")
    got = await second.read_message()
    assert (got.status, code_of(got)) == (503, "queue_full")
    assert got.values(b"retry-after")
    assert got.values(b"connection") == []
    assert lb.waiting == 2
    backend.answer()
    for client in (running, first, single):
        assert (await client.read_message()).status == 200
    await second.send(GET)
    assert (await second.read_message()).status == 200


async def test_wait_in_the_queue_ends_with_503(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)], queue=QueueConfig(timeout_s=0.05))
    first, second = await lb.client(), await lb.client()
    await first.send(GET)
    await until(lambda: lb.in_flight() == 1)
    await second.send(GET)
    got = await second.read_message()
    assert (got.status, code_of(got)) == (503, "queue_timeout")
    assert got.values(b"retry-after")
    assert lb.waiting == 0
    backend.answer()
    assert (await first.read_message()).status == 200
    await second.send(GET)
    assert (await second.read_message()).status == 200


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_client_that_leaves_the_queue_frees_its_place(house: House, leave: str) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)])
    first, second, third = [await lb.client() for _ in range(3)]
    await first.send(GET)
    await until(lambda: lb.in_flight() == 1)
    await second.send(b"GET /ghost HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: lb.waiting == 1)
    await third.send(b"GET /third HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: lb.waiting == 2)
    getattr(second, leave)()
    await until(lambda: lb.waiting == 1)
    assert (await lb.record()).ending == "client_left"
    backend.answer()
    assert (await third.read_message()).status == 200
    assert [request.start for request in backend.requests] == [b"GET / HTTP/1.1", b"GET /third HTTP/1.1"]


async def test_client_that_leaves_the_queue_after_sending_too_much_ahead_frees_its_place(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)], limits=Limits(head_bytes=1000))
    first, second = await lb.client(), await lb.client()
    await first.send(GET)
    await until(lambda: lb.in_flight() == 1)
    await second.send(GET)
    await until(lambda: lb.waiting == 1)
    await second.send(b"x" * 5000)
    await until(lambda: any(len(one.inbox) == 1000 for one in lb.server._clients))
    second.reset()
    async with asyncio.timeout(2):
        await until(lambda: lb.waiting == 0)
    assert (await lb.record()).ending == "client_left"
    backend.answer()
    assert (await first.read_message()).status == 200
    assert len(backend.requests) == 1


async def test_requests_sent_ahead_are_kept_while_the_first_waits(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)])
    first, second = await lb.client(), await lb.client()
    await first.send(GET)
    await until(lambda: lb.in_flight() == 1)
    await second.send(GET)
    await until(lambda: lb.waiting == 1)
    await second.send(post(b"ahead"))
    backend.answer(lambda request: reply(request.start + request.body))
    await first.read_message()
    assert (await second.read_message()).body == b"GET / HTTP/1.1"
    assert (await second.read_message()).body == b"POST / HTTP/1.1ahead"


# Other attempts


async def test_refused_connection_is_tried_elsewhere_without_the_client_noticing(house: House) -> None:
    backend = house.backend()
    backend.answer()
    dead = BackendConfig("dead", "127.0.0.1", free_port())
    lb = house.balancer([dead, backend.config("alive")], policy="round-robin")
    client = await lb.client()
    for _ in range(4):
        await client.send(post(b"image"))
        assert (await client.read_message()).status == 200
    assert [record.backend for record in lb.records] == ["alive"] * 4
    assert [record.attempts for record in lb.records] == [2, 1, 1, 1], "the dead one is left alone after the first"


async def test_all_down_waits_for_the_first_that_comes_back(house: House) -> None:
    port = free_port()
    lb = house.balancer([BackendConfig("b1", "127.0.0.1", port)])
    client = await lb.client()
    await client.send(post(b"image"))
    await until(lambda: lb.waiting == 1)
    house.backend(port=port).answer(lambda request: reply(request.body))
    got = await client.read_message()
    assert (got.status, got.body) == (200, b"image")
    assert (await lb.record()).attempts >= 2


async def test_all_down_for_too_long_is_answered_503(house: House) -> None:
    lb = house.balancer([BackendConfig("b1", "127.0.0.1", free_port())], queue=QueueConfig(timeout_s=0.05))
    client = await lb.client()
    await client.send(GET)
    got = await client.read_message()
    assert got.status == 503
    assert got.values(b"retry-after")


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_get_is_tried_elsewhere_when_the_backend_breaks_off_before_its_reply(house: House, leave: str) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends, policy="round-robin")
    client = await lb.client()
    await client.send(GET)
    peer = await backends[0].accept()
    await peer.read_message()
    getattr(peer, leave)()
    peer = await backends[1].accept()
    await peer.read_message()
    await peer.send(OK)
    assert (await client.read_message()).status == 200
    record = await lb.record()
    assert (record.attempts, record.backend) == (2, "b2")


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_post_runs_once_when_the_backend_breaks_off_before_its_reply(house: House, leave: str) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends, policy="round-robin")
    client = await lb.client()
    await client.send(post(b"image"))
    peer = await backends[0].accept()
    await peer.read_message()
    getattr(peer, leave)()
    got = await client.read_message()
    assert (got.status, code_of(got)) == (502, "backend_broke")
    assert not backends[1].has_caller()
    assert (await lb.record()).attempts == 1


@pytest.mark.parametrize("body", [b"image", pattern(500_000)], ids=["small", "large"])
async def test_post_is_tried_elsewhere_when_the_operator_allows_it(house: House, body: bytes) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends, policy="round-robin", replay_post=True)
    client = await lb.client()
    await client.send(post(body))
    peer = await backends[0].accept()
    assert (await peer.read_message()).body == body
    peer.close()
    peer = await backends[1].accept()
    assert (await peer.read_message()).body == body
    await peer.send(OK)
    assert (await client.read_message()).status == 200


async def test_streamed_body_is_not_tried_elsewhere_even_if_it_might_run_twice(house: House) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends, policy="round-robin", limits=SMALL_BUFFER)
    client = await lb.client()
    await client.send(post(pattern(100_000), method=b"PUT"))
    peer = await backends[0].accept()
    await peer.read_message()
    peer.close()
    assert (await client.read_message()).status == 502
    assert not backends[1].has_caller()


async def test_attempts_are_bounded(house: House) -> None:
    backends = [house.backend() for _ in range(4)]
    for backend in backends:
        backend.answer(lambda request: reply(b"oops", status=b"500 Internal Server Error"))
    lb = house.balancer(backends, retries=2)
    client = await lb.client()
    await client.send(GET)
    answer = await client.read_message()
    assert (answer.status, answer.body) == (500, b"oops"), "the last one's error is passed on as it is"
    assert sorted(len(backend.requests) for backend in backends) == [0, 1, 1, 1], "never the same one again"
    assert (await lb.record()).attempts == 3


async def test_request_that_two_backends_died_of_is_tried_on_no_third(house: House) -> None:
    backends = [house.backend() for _ in range(4)]
    for backend in backends:
        backend.answer(hang_up)
    lb = house.balancer(backends, retries=3)
    client = await lb.client()
    await client.send(GET)
    assert (await client.read_message()).status == 502
    assert sorted(len(backend.requests) for backend in backends) == [0, 0, 1, 1]


async def test_one_backend_that_breaks_twice_is_one_that_died_of_it(house: House) -> None:
    backend = house.backend()
    backend.answer(hang_up)
    lb = house.balancer([backend], retries=2)
    client = await lb.client()
    await client.send(GET)
    assert (await client.read_message()).status == 502
    assert len(backend.requests) == 3


@pytest.mark.parametrize("request_bytes", [GET, post(pattern(500_000))], ids=["at once", "gathered"])
async def test_process_that_broke_is_given_the_time_to_die(house: House, request_bytes: bytes) -> None:
    """Killed, it closes its connections one by one: in between, its listening socket still takes the next attempt."""
    backend = house.backend()
    lb = house.balancer([backend], replay_post=True)
    client = await lb.client()
    await client.send(request_bytes)
    peer = await backend.accept()
    await peer.read_message()
    broke_at = time.monotonic()
    peer.reset()
    peer = await backend.accept()
    assert time.monotonic() - broke_at > LET_DIE_S - 0.001, "timers may be early by less"
    await peer.read_message()
    await peer.send(OK)
    assert (await client.read_message()).status == 200


async def test_who_waits_for_the_slot_of_a_broken_attempt_is_not_sent_to_a_dying_process(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)])
    first, second = await lb.client(), await lb.client()
    await first.send(post(b"1"))
    peer = await backend.accept()
    await peer.read_message()
    await second.send(post(b"2"))
    await until(lambda: lb.waiting == 1)
    broke_at = time.monotonic()
    peer.reset()
    peer = await backend.accept()
    assert time.monotonic() - broke_at > LET_DIE_S - 0.001
    assert (await first.read_message()).status == 502
    await peer.read_message()
    await peer.send(OK)
    assert (await second.read_message()).status == 200


async def test_answer_to_head_has_no_body(house: House) -> None:
    lb = house.balancer([BackendConfig("b1", "127.0.0.1", free_port())], queue=QueueConfig(timeout_s=0.05))
    client = await lb.client()
    await client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    head = await client.read_head()
    assert head.status == 503
    assert int(head.values(b"content-length")[0]) > 0
    assert await client.ended()


async def test_phases_are_those_of_the_last_attempt(house: House) -> None:
    """Also where that one got no connection and an earlier one had."""
    breaks, refuses = house.backend(), free_port()
    breaks.answer(hang_up)
    backends = [breaks.config("b1"), BackendConfig("b2", "127.0.0.1", refuses)]
    lb = house.balancer(backends, queue=QueueConfig(timeout_s=0.2), policy="round-robin")
    client = await lb.client()
    await client.send(GET)
    assert (await client.read_message()).status == 503
    record = await lb.record()
    assert record.backend == "b2"
    assert record.connected == 0.0 or record.connected >= record.leased


async def test_error_that_comes_after_the_deadline_is_the_backends_own(house: House) -> None:
    """Nobody else may be asked any more, so there is no reason to keep it from the client."""
    backends = house.backend(), house.backend()
    lb = house.balancer(backends)
    client = await lb.client()
    asked = time.monotonic()
    await client.send(GET[:-2] + b"X-Request-Deadline-Ms: 50\r\n\r\n")
    peer = await backends[0].accept()
    await peer.read_message()
    await until(lambda: time.monotonic() - asked > 0.06)
    await peer.send(reply(b"too dark", status=b"503 Service Unavailable"))
    got = await client.read_message()
    assert (got.status, got.body) == (503, b"too dark")
    assert not backends[1].has_caller()
