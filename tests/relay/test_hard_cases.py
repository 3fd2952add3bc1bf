"""Corners that once went wrong: poisoning, dripping bodies, resets in tunnels, ghosts, lingering, descriptors."""

import asyncio
import errno
import socket

import pytest

from ocr_tcp_lb.balance.health import State
from ocr_tcp_lb.config import Limits, QueueConfig, Timeouts

from .support import GET, OK, House, pattern, post, reply, until
from .test_attempt import CHUNKED_HEAD, SMALL_BUFFER, exchange


async def test_bytes_behind_a_reply_never_answer_the_next_pipelined_request(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(GET + GET)
    peer = await backend.accept()
    await peer.read_message()
    await peer.send(reply(pattern(100_000)) + reply(b"evil"))
    assert (await client.read_message()).body == pattern(100_000)
    other = asyncio.ensure_future(backend.accept())
    got = asyncio.ensure_future(client.read_message())
    await asyncio.wait({other, got}, return_when=asyncio.FIRST_COMPLETED)
    if not got.done():
        await (await other).send(OK)
    other.cancel()
    assert (await got).body == b"ok"


async def test_body_that_drips_in_more_pieces_than_sendmsg_takes(house: House) -> None:
    backend = house.backend()
    backend.answer(lambda request: reply(request.body))
    lb = house.balancer([backend])
    client = await lb.client()
    body = pattern(1100 * 32)
    await client.send(post(body)[: -len(body)])
    for start in range(0, len(body), 32):
        await client.send(body[start : start + 32])
        for _ in range(3):
            await asyncio.sleep(0)
    assert (await client.read_message()).body == body


async def test_reset_of_a_backend_is_a_reset_in_tcp_mode(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], mode="tcp")
    client = await lb.client()
    await client.send(b"x")
    peer = await backend.accept()
    await peer.read(1)
    await peer.send(b"half")
    assert await client.read(4) == b"half"
    peer.reset()
    assert await client.read_to_end() == (b"", "reset")


async def test_reset_of_a_client_is_a_reset_in_tcp_mode(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], mode="tcp")
    client = await lb.client()
    await client.send(b"half")
    peer = await backend.accept()
    await peer.read(4)
    client.reset()
    assert await peer.read_to_end() == (b"", "reset")


async def test_last_bytes_and_the_reset_behind_them_are_both_passed_on_in_tcp_mode(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], mode="tcp")
    client = await lb.client()
    await client.send(b"half")
    peer = await backend.accept()
    await peer.read(4)
    client.sock.send(b"last")
    client.reset()  # seen together with the bytes
    got, ending = await peer.read_to_end()
    assert ending == "reset"
    assert got in (b"last", b"")  # a reset may overtake bytes


async def test_slot_is_free_once_the_backend_has_answered_an_upload_early(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)], limits=SMALL_BUFFER)
    client = await lb.client()
    await client.send(post(pattern(1_000_000))[:200_000])
    peer = await backend.accept()
    await peer.read_head()
    await peer.send(reply(b"no", status=b"400 Bad Request"))
    assert (await client.read_message()).status == 400
    other = await lb.client()
    await other.send(GET)
    async with asyncio.timeout(1):
        peer = await backend.accept()
    await peer.send(OK)
    await other.read_message()


async def test_head_of_a_reply_renews_the_deadline(house: House) -> None:
    _, client, peer, _ = await exchange(house, timeouts=Timeouts(response_s=0.4))
    await asyncio.sleep(0.3)
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    await asyncio.sleep(0.3)
    await peer.send(b"ok")
    assert (await client.read_message()).body == b"ok"


async def test_last_reply_survives_bytes_that_the_client_sent_ahead(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client(receive_buffer=32 * 1024)
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET * 4000)
    peer = await backend.accept()
    await peer.read_message()
    await peer.send(reply(pattern(300_000)))
    assert (await client.read_message()).body == pattern(300_000)


async def test_running_out_of_descriptors_is_not_a_failure_of_the_backend(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = house.backend()
    lb = house.balancer([backend], queue=QueueConfig(timeout_s=0.2))
    client = await lb.client()
    real = socket.socket

    def exhausted(*args: object, **more: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("ocr_tcp_lb.relay.upstream.socket.socket", exhausted)
    await client.send(GET)
    await client.read_message()
    monkeypatch.setattr("ocr_tcp_lb.relay.upstream.socket.socket", real)
    assert lb.hub.fleet.backends[0].health.state is State.UP


async def test_time_in_the_log_does_not_count_the_lingering(house: House) -> None:
    lb = house.balancer([house.backend()], limits=Limits(body_bytes=10))
    client = await lb.client()
    await client.send(post(b"x" * 11)[:-1])
    await client.read_message()
    await asyncio.sleep(0.2)
    client.close()
    record = await lb.record()
    assert record.ended - record.began < 0.1


async def test_streaming_client_that_leaves_the_queue_frees_its_place(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)], limits=SMALL_BUFFER)
    first, second = await lb.client(), await lb.client()
    await first.send(GET)
    await until(lambda: lb.in_flight() == 1)
    await second.send(post(pattern(200_000))[:100_000])
    await until(lambda: lb.waiting == 1)
    second.reset()
    async with asyncio.timeout(1):
        await until(lambda: lb.waiting == 0)


async def test_interim_reply_does_not_free_the_slot_of_a_ghost(house: House) -> None:
    lb, client, peer, _ = await exchange(house, post(b"image"))
    client.reset()
    for _ in range(20):
        await asyncio.sleep(0)
    assert lb.in_flight() == 1
    await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n")
    for _ in range(20):
        await asyncio.sleep(0)
    assert lb.in_flight() == 1, "the worker computes on"


async def test_reply_behind_an_interim_one_that_found_nobody_frees_the_slot(house: House) -> None:
    lb, client, peer, _ = await exchange(house, post(b"image"))
    peer.sock.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    client.reset()  # seen with the replies, and by the sending of the first
    async with asyncio.timeout(1):
        assert (await lb.record()).ending == "client_left"
    assert lb.in_flight() == 0


async def test_reply_whose_first_chunk_is_broken_is_a_502_while_the_client_has_nothing(house: House) -> None:
    _, client, peer, _ = await exchange(house, post(b"x"))
    await peer.send(CHUNKED_HEAD + b"zz\r\n")
    assert (await client.read_message()).status == 502
