"""The express lane hands over to the general one at any point: the client, the log and the backend see one request."""

import math
import socket

import pytest

from ocr_tcp_lb.wire import ReplyHead, ReplyParser, RequestHead

from .support import GET, OK, House, chunked, pattern, post, replaces_a_part, reply, served_once, until

REPLIES = {
    "whole": OK,
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"o", b"k"),
    "after an interim one": b"HTTP/1.1 102 Processing\r\n\r\n" + OK,
    "with bytes behind it": OK + b"?",
}


SCAN = pattern(300_000)
UPLOADS = {
    "with a length": post(SCAN),
    "in chunks": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(SCAN[:7], SCAN[7:]),
    "expected": post(SCAN, b"Expect: 100-continue"),
}


@pytest.mark.parametrize("sent", REPLIES.values(), ids=REPLIES)
async def test_request_keeps_its_id_in_every_lane(house: House, sent: bytes) -> None:
    lb, client, peer = await served_once(house)
    await client.send(GET)
    request = await peer.read_message()
    await peer.send(sent)
    got = await client.read_final()
    record = await lb.record(1)
    assert (got.status, got.body, record.ending) == (200, b"ok", "ok")
    assert request.values(b"x-request-id") == got.values(b"x-request-id") == [record.request_id]


@replaces_a_part
@pytest.mark.parametrize("request_bytes", [GET, UPLOADS["with a length"]], ids=["at once", "gathered"])
async def test_mistake_of_ours_before_the_request_is_sent_costs_no_slot_and_no_memory(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, request_bytes: bytes
) -> None:
    lb, client, _ = await served_once(house)
    monkeypatch.setattr(RequestHead, "forwarded", lambda *_, **__: 1 / 0)
    await client.send(request_bytes)
    assert (await client.read_to_end())[0] == b""
    assert (lb.in_flight(), lb.hub.slabs.used_bytes) == (0, 0)
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()  # it was meant to be there


@replaces_a_part
@pytest.mark.parametrize(("owner", "name"), [(ReplyParser, "parse"), (ReplyHead, "forwarded")])
async def test_mistake_of_ours_costs_one_connection_and_no_slot(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, owner: type, name: str
) -> None:
    lb, client, peer = await served_once(house)
    monkeypatch.setattr(owner, name, lambda *_, **__: 1 / 0)
    await client.send(GET)
    await peer.read_message()
    await peer.send(OK)
    assert await client.ended()
    assert (await lb.record(1)).ending == "internal_error"
    assert lb.in_flight() == 0
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()  # it was meant to be there


async def test_reply_in_two_reads_is_one_reply(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(GET)
    peer = await backend.accept()
    for number in range(3):
        if number:
            await client.send(GET)
        await peer.read_message()
        await peer.send(OK[:20])
        await peer.send(OK[20:])
        assert (await client.read_message()).body == b"ok"
    assert [record.status for record in lb.records] == [200, 200, 200]


async def test_request_that_its_backend_takes_slowly_is_sent_once(house: House) -> None:
    lb, client, peer = await served_once(house, backend_buffer=4096)
    (connection,) = lb.upstream("b1")._idle
    connection.channel.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    body = pattern(15_000)  # which came along with its head, and of which the kernel takes a part
    await client.send(post(body) + GET)
    await until(lambda: lb.in_flight() == 1)
    assert (await peer.read_message()).body == body
    await peer.send(OK)
    assert (await client.read_message()).body == b"ok"
    await peer.read_message()
    await peer.send(OK)
    assert (await client.read_message()).body == b"ok"
    assert [record.attempts for record in lb.records] == [1, 1, 1]
    assert not house.backends[0].has_caller()


# Bodies that come after their head


@pytest.mark.parametrize("sent", REPLIES.values(), ids=REPLIES)
@pytest.mark.parametrize("upload", UPLOADS.values(), ids=UPLOADS)
async def test_gathered_body_arrives_whole_and_its_memory_comes_back(house: House, upload: bytes, sent: bytes) -> None:
    lb, client, peer = await served_once(house)
    await client.send(upload[:20_000])
    await until(lambda: lb.hub.slabs.used_bytes > 0)
    await client.send(upload[20_000:])
    request = await peer.read_message()
    await peer.send(sent)
    got = await client.read_final()
    record = await lb.record(1)
    assert request.body == SCAN
    assert request.values(b"x-request-id") == got.values(b"x-request-id") == [record.request_id]
    assert (got.status, got.body, record.ending, record.attempts) == (200, b"ok", "ok", 1)
    assert record.bytes_in == len(upload.partition(b"\r\n\r\n")[2])
    assert record.began <= record.asked <= record.answered
    assert lb.hub.slabs.used_bytes == 0


async def test_request_right_behind_a_gathered_body_is_the_next_one(house: House) -> None:
    lb, client, peer = await served_once(house)
    for upload in UPLOADS.values():
        await client.send(upload + upload)
        for _ in range(2):
            assert (await peer.read_message()).body == SCAN
            await peer.send(reply(b"?"))
            assert (await client.read_message()).body == b"?"
    assert lb.in_flight() == 0


async def test_backend_that_takes_a_body_slowly_gets_all_of_it(house: House) -> None:
    lb, client, peer = await served_once(house, backend_buffer=4096)
    body = pattern(4_000_000)
    await client.send(post(body))
    assert await peer.read_until(b"\r\n\r\n")
    assert lb.hub.slabs.used_bytes >= len(body) - 20_000, "held until it is answered: it may have to be sent again"
    assert await peer.read(len(body)) == body
    await peer.send(OK)
    assert (await client.read_message()).body == b"ok"
    assert ((await lb.record(1)).attempts, lb.hub.slabs.used_bytes) == (1, 0)


async def test_gathered_body_is_sent_anew_when_the_connection_proves_dead(house: House) -> None:
    lb, client, _ = await served_once(house)
    if not lb.hub.express:
        pytest.skip("the general lane waits for what the backend may still say")
    (connection,) = lb.upstream("b1")._idle
    connection.channel.sock.shutdown(socket.SHUT_WR)  # the first byte fails, and nobody can have got it
    connection.idle_since = math.inf  # so recent that nobody looks
    await client.send(post(SCAN))
    peer = await house.backends[0].accept()
    assert (await peer.read_message()).body == SCAN
    await peer.send(OK)
    assert (await client.read_message()).body == b"ok"
    assert ((await lb.record(1)).status, lb.hub.slabs.used_bytes) == (200, 0)


async def test_end_of_the_balancer_ends_a_body_that_is_still_to_come(house: House) -> None:
    lb, client, _ = await served_once(house)
    await client.send(post(SCAN)[:50_000])
    await until(lambda: lb.hub.slabs.used_bytes > 0)
    assert lb.server.cut_off() == 1
    assert ((await lb.record(1)).ending, lb.hub.slabs.used_bytes) == ("cancelled", 0)
    assert (await client.read_to_end())[0] == b""
