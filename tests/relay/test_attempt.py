"""One try on one backend: every framing of a reply, every way in which either side breaks off, every time limit."""

import asyncio
import time

import pytest

from ocr_tcp_lb.balance.health import Health, State
from ocr_tcp_lb.config import Limits, Timeouts
from ocr_tcp_lb.relay.buffers import SLAB_BYTES

from .support import GET, OK, Balancer, House, Peer, ScriptedBackend, chunked, pattern, post, reply, until

SMALL_BUFFER = Limits(request_buffer_bytes=64 * 1024)
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def exchange(
    house: House, request: bytes = GET, **config: object
) -> tuple[Balancer, Peer, Peer, ScriptedBackend]:
    """A request that a backend has received and not yet answered."""
    backend = house.backend()
    lb = house.balancer([backend], **config)
    client = await lb.client()
    await client.send(request)
    peer = await backend.accept()
    await peer.read_message()
    return lb, client, peer, backend


# Framings


@pytest.mark.parametrize("size", [0, 1, 60_000, 70_000, 1_500_000])
async def test_reply_with_a_length_arrives_as_it_was_sent(house: House, size: int) -> None:
    lb, client, peer, _ = await exchange(house)
    await peer.send(reply(pattern(size), b"X-Worker: w1"))
    got = await client.read_message()
    assert got.body == pattern(size)
    assert got.values(b"x-worker") == [b"w1"]
    assert (await lb.record()).bytes_out == size


async def test_reply_may_arrive_byte_by_byte(house: House) -> None:
    _, client, peer, _ = await exchange(house)
    await peer.send_bytewise(OK)
    assert (await client.read_message()).body == b"ok"


async def test_chunked_reply_arrives_as_it_was_sent(house: House) -> None:
    _, client, peer, _ = await exchange(house)
    body = chunked(b"a", pattern(100_000), b"bc")
    await peer.send(CHUNKED_HEAD + body)
    assert (await client.read_head()).values(b"transfer-encoding") == [b"chunked"]
    assert await client.read(len(body)) == body
    await client.send(GET)
    await peer.read_message()
    await peer.send(OK)
    assert (await client.read_message()).body == b"ok"


async def test_chunked_reply_is_unwrapped_for_http_1_0(house: House) -> None:
    _, client, peer, _ = await exchange(house, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    await peer.send(CHUNKED_HEAD)
    await peer.send_bytewise(chunked(b"a", b"bcd", b"efghijklmnopq"))
    head = await client.read_head()
    assert head.values(b"transfer-encoding") == []
    assert head.values(b"connection") == [b"close"]
    assert await client.read_to_end() == (b"abcdefghijklmnopq", "end")


async def test_reply_that_runs_until_the_close_closes_the_client_too(house: House) -> None:
    _, client, peer, _ = await exchange(house)
    await peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + pattern(100_000))
    peer.close()
    head = await client.read_head()
    assert head.values(b"connection") == [b"close"]
    assert await client.read_to_end() == (pattern(100_000), "end")


async def test_http_1_0_backend_is_understood_and_not_reused(house: House) -> None:
    _, client, peer, backend = await exchange(house)
    await peer.send(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    got = await client.read_message()
    assert got.start.startswith(b"HTTP/1.1 200")
    assert got.body == b"hi"
    assert await peer.ended()
    await client.send(GET)
    peer = await backend.accept()
    await peer.send(OK)
    assert (await client.read_message()).status == 200


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_replies_that_never_have_a_body_end_with_their_head(house: House, status: bytes) -> None:
    _, client, peer, _ = await exchange(house)
    await peer.send(b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n")
    assert (await client.read_head()).status == int(status[:3])
    await client.send(GET)
    await peer.read_message()
    await peer.send(OK)
    assert (await client.read_message()).body == b"ok"


@pytest.mark.parametrize("field", [b"Content-Length: 500", b"Transfer-Encoding: chunked", b"X: no framing"])
async def test_reply_to_head_ends_with_its_head(house: House, field: bytes) -> None:
    _, client, peer, _ = await exchange(house, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    await peer.send(b"HTTP/1.1 200 OK\r\n" + field + b"\r\n\r\n")
    head = await client.read_head()
    assert head.status == 200
    if field.startswith(b"Content-Length"):
        assert head.values(b"content-length") == [b"500"]
    await client.send(GET)
    await peer.read_message()
    await peer.send(OK)
    assert (await client.read_message()).body == b"ok"


# Interim replies


async def test_interim_replies_are_passed_on(house: House) -> None:
    _, client, peer, _ = await exchange(house)
    await peer.send(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    assert (await client.read_head()).status == 102
    hints = await client.read_head()
    assert (hints.status, hints.values(b"link")) == (103, [b"</a>"])
    assert (await client.read_message()).status == 200


async def test_interim_replies_are_not_for_http_1_0(house: House) -> None:
    _, client, peer, _ = await exchange(house, b"GET / HTTP/1.0\r\n\r\n")
    await peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
    assert (await client.read_message()).status == 200


async def test_continue_that_nobody_waits_for_is_dropped(house: House) -> None:
    _, client, peer, _ = await exchange(house, post(b"x"))
    await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert (await client.read_message()).status == 200


async def test_endless_interim_replies_are_given_up(house: House) -> None:
    lb, client, peer, _ = await exchange(house, post(b"x"))
    await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 40)
    while (got := await client.read_message()).status == 102:
        pass
    assert got.status == 502
    assert lb.hub.fleet.backends[0].failed == 1


# A backend that breaks off or talks nonsense

NONSENSE = {
    "another protocol": b"SSH-2.0-OpenSSH_9\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a huge head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000,
    "a switch that nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_becomes_502(house: House, nonsense: bytes) -> None:
    lb, client, peer, _ = await exchange(house, post(b"x"))
    await peer.send(nonsense)
    got = await client.read_message()
    assert got.status == 502
    assert (await lb.record()).ending == "backend_broke"
    assert lb.hub.fleet.backends[0].failed == 1
    await peer.read_to_end()


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("sent", [b"", b"H", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_backend_that_leaves_inside_its_head_becomes_502(house: House, sent: bytes, leave: str) -> None:
    lb, client, peer, _ = await exchange(house, post(b"x"))
    await peer.send_bytewise(sent)
    getattr(peer, leave)()
    got = await client.read_message()
    assert got.status == 502
    assert lb.hub.fleet.backends[0].failed == 1
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")  # the connection is still good


BROKEN = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 50,
    "large length": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500_000,
    "no byte of the body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
    "chunk": CHUNKED_HEAD + b"a\r\nabc",
    "between chunks": CHUNKED_HEAD + b"3\r\nabc\r\n",
    "before the last line": CHUNKED_HEAD + b"3\r\nabc\r\n0\r\n",
}


@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
async def test_reply_that_breaks_off_breaks_off_at_the_client(
    house: House, sent: bytes, version: bytes, leave: str
) -> None:
    lb, client, peer, _ = await exchange(house, b"GET / HTTP/" + version + b"\r\nHost: a\r\n\r\n")
    await peer.send(sent)
    received = await client.read_until(b"\r\n\r\n")
    getattr(peer, leave)()
    rest, ending = await client.read_to_end()
    assert ending == "reset", "a clean end could pass for the end of the body"
    assert not rest.endswith(b"0\r\n\r\n")
    assert len(rest) < 1_000_000
    assert received.startswith(b"HTTP/1.1 200")
    record = await lb.record()
    assert (record.ending, record.status) == ("broken_reply", 200)
    assert lb.hub.fleet.backends[0].failed == 1


@pytest.mark.parametrize("sent", [b"H", b"HTTP/1.1 2"])
async def test_half_a_head_followed_at_once_by_a_reset_is_not_followed_by_silence(house: House, sent: bytes) -> None:
    _, client, peer, _ = await exchange(house, post(b"x"))
    peer.sock.send(sent)
    peer.reset()
    assert (await client.read_message()).status == 502


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf",
        CHUNKED_HEAD + b"5\r\nhal",
        b"HTTP/1.1 200 OK\r\n\r\nhalf",
    ],
    ids=["length", "large length", "chunked", "until close"],
)
async def test_half_a_reply_followed_at_once_by_a_reset_is_not_followed_by_silence(house: House, sent: bytes) -> None:
    _, client, peer, _ = await exchange(house, post(b"x"))
    peer.sock.send(sent)
    peer.reset()
    assert (await client.read_to_end())[1] == "reset"


async def test_reset_inside_a_reply_that_runs_until_the_close_is_passed_on_as_a_reset(house: House) -> None:
    _, client, peer, _ = await exchange(house)
    await peer.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
    await client.read_until(b"half")
    peer.reset()
    assert (await client.read_to_end())[1] == "reset"


async def test_malformed_chunk_in_a_reply_breaks_it_off(house: House) -> None:
    _, client, peer, _ = await exchange(house)
    await peer.send(CHUNKED_HEAD + b"3\r\nabc\r\n")
    await client.read_until(b"abc\r\n")
    await peer.send(b"zz\r\n")
    assert await client.read_to_end() == (b"", "reset")


# Connections to a backend are used again only when that is safe


@pytest.mark.parametrize("size", [2, 100_000], ids=["small", "large"])
async def test_bytes_behind_a_reply_never_reach_anybody(house: House, size: int) -> None:
    lb, client, peer, backend = await exchange(house)
    await peer.send(reply(pattern(size)) + reply(b"evil"))
    assert (await client.read_message()).body == pattern(size)
    other = await lb.client()
    await other.send(GET)
    peer = await backend.accept()
    await peer.send(OK)
    assert (await other.read_message()).body == b"ok"
    assert client.received == b""


async def test_bytes_behind_a_chunked_reply_never_reach_anybody(house: House) -> None:
    _, client, peer, backend = await exchange(house)
    await peer.send(CHUNKED_HEAD + chunked(b"abc") + reply(b"evil"))
    assert (await client.read_message()).body == b"abc"
    await client.send(GET)
    peer = await backend.accept()
    await peer.send(OK)
    assert (await client.read_message()).body == b"ok"


async def test_bytes_behind_a_bodiless_reply_never_reach_anybody(house: House) -> None:
    _, client, peer, backend = await exchange(house, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    await peer.send(reply(b"a body that a reply to HEAD must not have"))
    await client.read_head()
    await client.send(GET)
    peer = await backend.accept()
    await peer.send(OK)
    assert (await client.read_message()).body == b"ok"


async def test_get_survives_an_idle_connection_that_the_backend_closes_at_that_moment(house: House) -> None:
    lb, client, peer, backend = await exchange(house)
    await peer.send(OK)
    await client.read_message()
    await client.send(GET)
    await until(peer.has_news)
    peer.close()  # the request came too late: the backend had decided to close
    peer = await backend.accept()
    await peer.read_message()
    await peer.send(OK)
    assert (await client.read_message()).status == 200
    assert lb.hub.fleet.backends[0].failed == 0, "a stale connection is no failure"
    assert (await lb.record(1)).attempts == 1


async def test_post_that_was_read_and_not_acknowledged_is_not_sent_again(house: House) -> None:
    """The kernel acknowledges late on a connection that goes back and forth, and a reset acknowledges nothing."""
    lb, client, peer, backend = await exchange(house)
    for number in range(20):
        await peer.send(OK)
        await client.read_message()
        await client.send(post(b"%d" % number))
        assert (await peer.read_message()).body == b"%d" % number
    peer.reset()
    assert (await client.read_message()).status == 502
    assert (await lb.record(20)).attempts == 1
    assert not backend.has_caller()


async def test_post_on_such_a_connection_is_not_sent_again(house: House) -> None:
    """And its backend is broken, however soon it closed: no request must follow while a killed worker dies."""
    lb, client, peer, backend = await exchange(house)
    await peer.send(OK)
    await client.read_message()
    await client.send(post(b"x"))
    await peer.read_message()
    peer.close()
    assert (await client.read_message()).status == 502
    assert not backend.has_caller()
    assert lb.hub.fleet.backends[0].failed == 1


async def test_closed_idle_connection_is_not_used(house: House) -> None:
    lb, client, peer, backend = await exchange(house)
    await peer.send(OK)
    await client.read_message()
    peer.close()
    await until(lambda: not lb.upstream("b1")._idle)
    await client.send(post(b"x"))
    peer = await backend.accept()
    await peer.read_message()
    await peer.send(OK)
    assert (await client.read_message()).status == 200


# Early replies


async def test_early_reply_is_delivered_while_the_client_still_sends(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=SMALL_BUFFER)
    client = await lb.client()
    request = post(pattern(5_000_000))
    await client.send(request[:100_000])
    peer = await backend.accept()
    await peer.read_head()
    await peer.send(reply(b"too big for me", status=b"400 Bad Request"))
    await client.send(request[100_000:3_000_000])
    got = await client.read_message()
    assert (got.status, got.body) == (400, b"too big for me")
    assert got.values(b"connection") == [b"close"]
    client.finish()
    assert await client.ended(), "a reset would have destroyed the reply"
    await peer.read_to_end()


async def test_early_reply_of_a_backend_that_closes_at_once_is_delivered(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=SMALL_BUFFER)
    client = await lb.client()
    request = post(pattern(5_000_000))
    await client.send(request[:100_000])
    peer = await backend.accept()
    await peer.read_head()
    await peer.send(reply(b"too big for me", status=b"413 Content Too Large"))
    peer.close()  # with unread bytes: a reset follows the reply
    await client.send(request[100_000:])
    got = await client.read_message()
    assert (got.status, got.body) == (413, b"too big for me")
    assert await client.ended()


async def test_reply_may_begin_before_the_body_has_ended(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=SMALL_BUFFER)
    client = await lb.client()
    body = pattern(600_000)
    await client.send(post(body)[:200_000])
    peer = await backend.accept()
    await peer.read_head()
    first = await peer.read(150_000)
    await peer.send(CHUNKED_HEAD + b"%x\r\n%b\r\n" % (len(first), first))
    assert (await client.read_head()).status == 200
    assert await client.read_until(b"\r\n") == b"%x\r\n" % len(first)
    assert await client.read(len(first) + 2) == first + b"\r\n"
    await client.send(post(body)[200_000:])
    rest = await peer.read(450_000)
    await peer.send(chunked(rest))
    assert await client.read_until(b"\r\n") == b"%x\r\n" % len(rest)
    assert first + await client.read(len(rest)) == body


async def test_refusal_never_lands_inside_a_reply_that_has_begun(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=SMALL_BUFFER)
    client = await lb.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.send(b"%x\r\n%b\r\n" % (100_000, pattern(100_000)))
    peer = await backend.accept()
    await peer.read_head()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    await client.read_until(b"half")
    await client.send(b"zz\r\n")
    rest, ending = await client.read_to_end()
    assert (rest, ending) == (b"", "reset")


async def test_backend_that_breaks_off_during_the_upload_becomes_502(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=SMALL_BUFFER)
    client = await lb.client()
    request = post(pattern(3_000_000))
    await client.send(request[:100_000])
    peer = await backend.accept()
    await peer.read_head()
    peer.reset()
    await client.send(request[100_000:])
    assert (await client.read_message()).status == 502
    assert await client.ended()


# A client that leaves


async def test_slot_is_held_while_the_backend_computes_for_a_client_that_left(house: House) -> None:
    lb, client, peer, _ = await exchange(house, post(b"image"))
    client.close()
    await until(lambda: lb.server.connections == 0)
    assert lb.in_flight() == 1, "a synchronous worker computes on"
    await peer.send(reply(b"secret of the first"))
    record = await lb.record()
    assert record.ending == "client_left"
    await until(lambda: lb.in_flight() == 0)
    rest, _ = await peer.read_to_end()
    assert rest == b"", "the balancer closes: the thrown-away reply must not meet another request"
    assert lb.hub.fleet.backends[0].failed == 0


async def test_slot_of_a_ghost_is_freed_when_the_backend_closes(house: House) -> None:
    lb, client, peer, _ = await exchange(house, post(b"image"))
    client.reset()
    await peer.send(b"")
    peer.close()
    assert (await lb.record()).status in (0, 502)
    assert lb.in_flight() == 0


async def test_slot_of_a_ghost_is_freed_when_the_backend_stays_silent_too_long(house: House) -> None:
    lb, client, _, _ = await exchange(house, post(b"image"), timeouts=Timeouts(response_s=0.1))
    client.close()
    assert (await lb.record()).ending == "client_left"
    assert lb.in_flight() == 0


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_client_that_leaves_inside_the_reply_frees_the_backend(house: House, leave: str) -> None:
    lb, client, peer, _ = await exchange(house)
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99000000\r\n\r\n" + pattern(1000))
    await client.read_head()
    getattr(client, leave)()
    with pytest.raises(ConnectionError):
        await peer.send_for_ever()
    record = await lb.record()
    assert (record.ending, record.status) == ("client_left", 200)
    assert lb.in_flight() == 0
    assert lb.hub.fleet.backends[0].failed == 0


# Time limits


async def test_silent_backend_becomes_504(house: House) -> None:
    lb, client, peer, _ = await exchange(house, post(b"x"), timeouts=Timeouts(response_s=0.05))
    assert (await client.read_message()).status == 504
    assert (await lb.record()).ending == "backend_silent"
    assert lb.hub.fleet.backends[0].failed == 1
    assert (await peer.read_to_end())[0] == b""


async def test_silent_backend_is_not_followed_by_another_attempt(house: House) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends, policy="round-robin", timeouts=Timeouts(response_s=0.05))
    client = await lb.client()
    await client.send(GET)
    assert (await client.read_message()).status == 504
    assert not backends[1].has_caller()


async def test_backend_that_falls_silent_inside_its_reply_breaks_it_off(house: House) -> None:
    _, client, peer, _ = await exchange(house, timeouts=Timeouts(response_s=0.05, idle_s=0.05))
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    rest, ending = await client.read_to_end()
    assert rest.endswith(b"half")
    assert ending == "reset"


async def test_client_that_stalls_its_upload_inside_the_reply_is_given_up(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=SMALL_BUFFER, timeouts=Timeouts(idle_s=0.05))
    client = await lb.client()
    await client.send(post(pattern(200_000))[:100_000])
    peer = await backend.accept()
    await peer.read_head()
    await peer.send(CHUNKED_HEAD + b"3\r\nabc\r\n")
    rest, ending = await client.read_to_end()
    assert rest.endswith(b"3\r\nabc\r\n")
    assert ending == "reset"
    record = await lb.record()
    assert (record.ending, record.status) == ("client_left", 200)
    assert lb.hub.fleet.backends[0].failed == 0


async def test_client_that_does_not_read_is_given_up(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], timeouts=Timeouts(idle_s=0.05))
    client = await lb.client(receive_buffer=4096)
    await client.send(GET)
    peer = await backend.accept()
    await peer.read_message()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99000000\r\n\r\n")
    with pytest.raises(ConnectionError):
        await peer.send_for_ever()
    record = await lb.record()
    assert record.ending == "client_left"
    assert record.bytes_out < 20_000_000


async def test_backend_that_does_not_read_its_request_becomes_504(house: House) -> None:
    backend = house.backend(receive_buffer=4096)
    lb = house.balancer([backend], timeouts=Timeouts(idle_s=0.05, response_s=0.05))
    client = await lb.client()
    await client.send(post(pattern(6_000_000)))
    assert (await client.read_message()).status == 504


# Backpressure


async def test_slow_backend_slows_the_client_down(house: House) -> None:
    backend = house.backend(receive_buffer=64 * 1024)
    lb = house.balancer([backend], limits=SMALL_BUFFER)
    client = await lb.client()
    body = pattern(20_000_000)
    send = client._loop.create_task(client.send(post(body)))
    peer = await backend.accept()
    head = await peer.read_head()
    assert head.values(b"content-length") == [b"20000000"]
    for start in range(0, len(body), 500_000):
        assert await peer.read(500_000) == body[start : start + 500_000]
        ahead = client.total_sent - start
        assert lb.hub.slabs.used_bytes <= 64 * 1024
        assert lb.hub.pipes._made <= 2
        assert ahead <= len(body)
    await send
    await peer.send(OK)
    assert (await client.read_message()).status == 200
    assert (await lb.record()).bytes_in == len(body)


async def test_slow_client_slows_the_backend_down(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client(receive_buffer=16 * 1024)
    await client.send(GET)
    peer = await backend.accept()
    await peer.read_message()
    body = pattern(8_000_000)
    send = client._loop.create_task(peer.send(reply(body)))
    await client.read_head()
    for start in range(0, len(body), 500_000):
        assert await client.read(500_000) == body[start : start + 500_000]
    await send
    assert lb.hub.slabs.used_bytes == 0


async def test_large_gathered_body_is_held_within_bounds_while_the_backend_is_slow(house: House) -> None:
    backend = house.backend(receive_buffer=256 * 1024)
    lb = house.balancer([backend.config("b1", max_idle_s=0.0)])
    clients = [await lb.client() for _ in range(3)]
    body = pattern(2_000_000)
    for client in clients:
        await client.send(post(body))
    for _ in clients:
        peer = await backend.accept()
        assert lb.hub.slabs.used_bytes <= 3 * (len(body) + SLAB_BYTES), "the rest of a slab is lost where stores follow"
        assert (await peer.read_message()).body == body
        await peer.send(OK)
    for client in clients:
        assert (await client.read_message()).status == 200
    assert lb.hub.slabs.used_bytes == 0


@pytest.mark.parametrize("request_bytes", [post(b"image"), GET], ids=["passed on", "held"])
async def test_backend_of_a_slow_reply_is_not_taken_for_one_that_hangs(
    house: House, monkeypatch: pytest.MonkeyPatch, request_bytes: bytes
) -> None:
    monkeypatch.setattr("ocr_tcp_lb.balance.silence.LEAST_S", 0.05)
    backend = house.backend()
    lb = house.balancer([backend, house.backend()])
    for one in lb.hub.fleet.backends:
        one.service.learn(0.001, time.monotonic())
    client = await lb.client()
    await client.send(request_bytes)
    peer = await backend.accept()
    await peer.read_message()
    whole = reply(pattern(1000))
    await peer.send(whole[:-1])
    await until(lambda: lb.hub.fleet.backends[0].replying == 1)
    for _ in range(3):
        lb.hub.review()
        await asyncio.sleep(0.06)
    assert not lb.hub.fleet.backends[0].is_silent
    await peer.send(whole[-1:])
    assert (await client.read_message()).body == pattern(1000)
    await until(lambda: lb.in_flight() == 0)
    assert lb.hub.fleet.backends[0].replying == 0


# The upload is the client's time

UPLOAD = pattern(200_000)


async def test_backend_of_a_slow_upload_is_not_taken_for_one_that_hangs(house: House) -> None:
    backends = house.backend(), house.backend()
    lb = house.balancer(backends, limits=SMALL_BUFFER, policy="round-robin")
    fleet, now = lb.hub.fleet, time.monotonic()
    member = fleet.backends[0]
    for one in fleet.backends:
        one.service.learn(0.001, now)
    client = await lb.client()
    await client.send(post(UPLOAD)[:-1000])
    peer = await backends[0].accept()
    await until(lambda: member.replying == 1)
    for later_s in (10, 20):
        fleet.review(now + later_s)
    assert not member.is_silent, "it waits for its client"
    await client.send(UPLOAD[-1000:])
    assert (await peer.read_message()).body == UPLOAD
    for later_s in (30, 40):
        fleet.review(now + later_s)
    assert member.is_silent, "it has the request now"
    await peer.send(OK)
    assert (await client.read_message()).status == 200
    await until(lambda: lb.in_flight() == 0)
    assert member.replying == 0


async def on_trial(house: House, monkeypatch: pytest.MonkeyPatch) -> tuple[Balancer, Health, Peer]:
    """A client of a backend on trial, which is proven by what goes on for 50 ms."""
    monkeypatch.setattr("ocr_tcp_lb.relay.hub.PROVEN_AFTER_S", 0.05)
    lb = house.balancer([house.backend(receive_buffer=4096)], limits=SMALL_BUFFER)
    (member,) = lb.hub.fleet.backends
    for is_well in (False, True):
        lb.hub.checked(member, is_well, 0.0)
    assert member.health.state is State.TRIAL
    return lb, member.health, await lb.client()


async def test_trial_that_waits_for_its_client_keeps_nobody_away(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    lb, health, client = await on_trial(house, monkeypatch)
    await client.send(post(UPLOAD)[:70_000])
    await house.backends[0].accept()
    other = await lb.client()
    await other.send(GET)
    peer = await house.backends[0].accept()
    assert health.state is State.UP
    await peer.read_message()
    await peer.send(OK)
    assert (await other.read_message()).status == 200


async def test_trial_of_a_backend_that_does_not_take_its_upload_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, health, client = await on_trial(house, monkeypatch)
    sending = asyncio.ensure_future(client.send(post(bytes(50_000_000))))
    await house.backends[0].accept()
    await asyncio.sleep(0.15)
    assert not sending.done()
    assert health.state is State.TRIAL, "it may hang"
    sending.cancel()


async def test_trial_of_a_backend_that_does_not_invite_its_upload_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, health, client = await on_trial(house, monkeypatch)
    await client.send(post(UPLOAD, b"Expect: 100-continue")[: -len(UPLOAD)])
    peer = await house.backends[0].accept()
    await asyncio.sleep(0.1)
    assert health.state is State.TRIAL
    await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert (await client.read_head()).status == 100
    await until(lambda: health.state is State.UP)
