"""Replies that the client does not see before they are whole, errors that it does not see at all."""

import asyncio

import pytest

from ocr_tcp_lb.balance.health import State
from ocr_tcp_lb.config import Limits, Timeouts
from ocr_tcp_lb.relay.held_reply import HeldReply
from ocr_tcp_lb.wire.responses import ReplyParser

from .support import GET, House, Peer, ScriptedBackend, post, reply, until

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
ERROR = reply(b"oops", status=b"500 Internal Server Error")


def test_it_is_whole_when_its_length_is_there() -> None:
    held = HeldReply(ReplyParser().parse(HEAD, b"GET"), bytearray(b"01234"))
    assert not held.take(b"5678")
    assert held.take(b"9and more")
    assert held.body == b"0123456789and more"


async def first_of(backends: list[ScriptedBackend]) -> tuple[Peer, ScriptedBackend]:
    """The backend that got the request, and the other one, which answers from now on."""
    peer = None
    while peer is None:
        for number, backend in enumerate(backends):
            if backend._sock.fileno() >= 0:
                try:
                    sock, _ = backend._sock.accept()
                except BlockingIOError:
                    continue
                sock.setblocking(False)
                peer = Peer(sock)
                backend.peers.append(peer)
                other = backends[1 - number]
        await asyncio.sleep(0)
    other.answer(lambda request: reply(b"another"))
    await peer.read_message()
    return peer, other


async def test_small_reply_that_breaks_off_is_had_from_another(house: House) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends)
    client = await lb.client()
    await client.send(GET)
    peer, _ = await first_of(backends)
    await peer.send(HEAD + b"01234")
    peer.close()
    assert (await client.read_message()).body == b"another"
    assert (await lb.record()).attempts == 2


async def test_small_reply_in_pieces_arrives_whole(house: House) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends)
    client = await lb.client()
    await client.send(GET)
    peer, other = await first_of(backends)
    await peer.send_bytewise(HEAD + b"0123456789")
    assert (await client.read_message()).body == b"0123456789"
    assert other.requests == []
    assert lb.hub.slabs.used_bytes == 0


@pytest.mark.parametrize(
    ("request_bytes", "limits"),
    [(post(b"x"), Limits()), (GET, Limits(reply_buffer_bytes=9)), (GET, Limits(buffer_memory_bytes=9))],
    ids=["a POST runs once", "too large", "no memory"],
)
async def test_what_cannot_be_had_elsewhere_streams_and_breaks_off(
    house: House, request_bytes: bytes, limits: Limits
) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends, limits=limits)
    client = await lb.client()
    await client.send(request_bytes)
    peer, other = await first_of(backends)
    await peer.send(HEAD + b"01234")
    assert (await client.read_head()).status == 200
    peer.close()
    assert (await client.read_to_end())[1] == "reset"
    assert other.requests == []


async def test_with_nobody_else_the_reply_streams(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(GET)
    peer = await backend.accept()
    await peer.send(HEAD + b"01234")
    assert (await client.read_head()).status == 200
    await peer.send(b"56789")
    assert await client.read(10) == b"0123456789"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_error_of_one_is_not_passed_on_while_another_can_serve(house: House, status: int) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends, replay_post=True)
    client = await lb.client()
    await client.send(post(b"x"))
    peer, other = await first_of(backends)
    await peer.send(reply(b"oops", status=b"%d Trouble" % status))
    assert (await client.read_message()).body == b"another"
    assert [request.body for request in other.requests] == [b"x"]
    assert lb.hub.fleet.backends[0].failed + lb.hub.fleet.backends[1].failed == 1


async def test_error_after_a_post_is_passed_on_because_it_may_have_run(house: House) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends)
    client = await lb.client()
    await client.send(post(b"x"))
    peer, other = await first_of(backends)
    await peer.send(ERROR)
    assert (await client.read_message()).body == b"oops"
    assert other.requests == []


async def test_status_that_another_backend_would_give_as_well_is_passed_on(house: House) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends)
    client = await lb.client()
    await client.send(GET)
    peer, other = await first_of(backends)
    await peer.send(reply(b"no", status=b"501 Not Implemented"))
    assert (await client.read_message()).status == 501
    assert other.requests == []


async def test_debug_headers_tell_the_way_of_a_reply(house: House) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends, debug_headers=True)
    client = await lb.client()
    await client.send(GET)
    peer, other = await first_of(backends)
    await peer.send(ERROR)
    answer = await client.read_message()
    assert answer.values(b"x-attempts") == [b"2"]
    assert answer.values(b"x-backend") == [b"b%d" % (backends.index(other) + 1)]


async def test_client_that_leaves_while_a_reply_is_held_frees_everything(house: House) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends)
    client = await lb.client()
    await client.send(GET)
    peer, _ = await first_of(backends)
    await peer.send(HEAD + b"01234")
    await until(lambda: lb.hub.slabs.used_bytes == 10)
    client.reset()
    await peer.send(b"56789")
    await until(lambda: lb.in_flight() == 0)
    assert lb.hub.slabs.used_bytes == 0


async def test_abandoned_work_is_cut_where_the_backend_notices(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", abandon="cancel")])
    client = await lb.client()
    await client.send(GET)
    peer = await backend.accept()
    await peer.read_message()
    client.reset()
    assert await peer.ended()
    await until(lambda: lb.in_flight() == 0)


async def test_backend_that_falls_silent_inside_a_held_reply_counts_as_silent(house: House) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends, policy="round-robin", timeouts=Timeouts(connect_s=0.2, response_s=0.2))
    client = await lb.client()
    await client.send(GET)
    peer = await backends[0].accept()
    await peer.read_message()
    await peer.send(reply(b"half")[:-1])
    assert (await client.read_message()).status == 504
    assert lb.hub.fleet.backends[0].failed == 1
    assert lb.hub.fleet.backends[0].health.state is State.EJECTED
