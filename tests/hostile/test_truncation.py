"""A stream that was cut never looks as if it had ended, whoever cut it: the client, the backend or the balancer."""

import asyncio
import socket

import pytest
from relay.support import (
    GET,
    Balancer,
    House,
    Peer,
    Stuffed,
    chunked,
    pattern,
    post,
    replaces_a_part,
    reply,
    served_once,
    until,
)

from ocr_tcp_lb.config import Limits, Timeouts

UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
LARGE = 30_000_000
SMALL_BUFFER = 16 * 1024  # of a receiver
STORED = 300_000  # what a sender's kernel takes all the same
LAST_CHUNK = b"0\r\n\r\n"


async def in_reply(
    house: House, request: bytes, begin: bytes, *, buffer: int = 0, **config: object
) -> tuple[Balancer, Peer, Peer]:
    """A client that got the beginning of a reply; `buffer` is how much either side's kernel receives, if told."""
    backend = house.backend(receive_buffer=buffer)
    lb = house.balancer([backend], **config)
    client = await lb.client(receive_buffer=buffer)
    await client.send(request)
    peer = await backend.accept()
    await peer.read_head()
    await peer.send(begin)
    await client.read_head()
    return lb, client, peer


async def in_stream(house: House, *, buffer: int = 0, **config: object) -> tuple[Balancer, Peer, Peer]:
    """A client and a backend that speak to each other in TCP mode."""
    backend = house.backend(receive_buffer=buffer)
    lb = house.balancer([backend], mode="tcp", **config)
    client = await lb.client(receive_buffer=buffer)
    await client.send(b"hello")
    peer = await backend.accept()
    assert await peer.read(5) == b"hello"
    await peer.send(b"welcome")
    assert await client.read(7) == b"welcome"
    return lb, client, peer


# The balancer ends, and its patience with it


@pytest.mark.parametrize(
    ("request_head", "begin"),
    [
        (GET, UNTIL_CLOSE + b"half"),
        (GET.replace(b"1.1", b"1.0"), CHUNKED + b"8\r\nhalf"),
        (UPGRADE, SWITCHING + b"half"),
    ],
    ids=["until close", "chunks for HTTP/1.0", "tunnel"],
)
async def test_reply_that_the_balancers_end_cuts_is_reset(house: House, request_head: bytes, begin: bytes) -> None:
    lb, client, peer = await in_reply(house, request_head, begin)
    assert await client.read(4) == b"half"
    assert lb.server.cut_off() == 1
    assert await client.read_to_end() == (b"", "reset")
    peer.close()


async def test_stream_that_the_balancers_end_cuts_is_reset_on_both_sides(house: House) -> None:
    lb, client, peer = await in_stream(house)
    assert lb.server.cut_off() == 1
    assert await client.read_to_end() == (b"", "reset")
    assert await peer.read_to_end() == (b"", "reset")
    assert (await lb.record()).ending == "cancelled"


async def test_reply_that_was_whole_survives_the_balancers_end(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=Limits(request_buffer_bytes=0))
    client = await lb.client(receive_buffer=32 * 1024)
    await client.send(post(b"image")[:-1])
    peer = await backend.accept()
    await peer.read_until(b"imag")
    await peer.send(reply(pattern(300_000), status=b"403 Forbidden"))
    await until(lambda: lb.in_flight() == 0)  # and the client is lingered on, for it may still send
    assert lb.server.cut_off() == 1
    assert (await client.read_message()).body == pattern(300_000)
    assert await client.ended()


# Somebody is too slow


async def test_reply_that_its_client_does_not_read_in_time_is_reset(house: House) -> None:
    lb, client, peer = await in_reply(house, GET, UNTIL_CLOSE, timeouts=Timeouts(idle_s=0.1))
    sending = asyncio.ensure_future(is_hung_up_on(peer, pattern(LARGE)))
    record = await lb.record()
    assert record.ending == "client_left"
    got, ending = await client.read_to_end()
    assert ending == "reset", f"{len(got)} of {LARGE} bytes came, and looked like all of it"
    assert await sending


@replaces_a_part
async def test_client_that_takes_nothing_of_the_next_piece_is_given_up_on_in_time(house: House) -> None:
    """Until then the backend was waited for, which is allowed far more time; no byte has moved since."""
    lb, _, peer = await in_reply(house, GET, UNTIL_CLOSE, timeouts=Timeouts(idle_s=0.1))
    (served,) = lb.server._clients
    served.channel.sock = Stuffed(served.channel.sock)  # type: ignore[assignment]
    await peer.send(b"next")
    assert (await lb.record()).ending == "client_left"


async def is_hung_up_on(peer: Peer, data: bytes) -> bool:
    """Send, and half-close; whether the connection was reset meanwhile, which is told only once."""
    try:
        await peer.send(data)
        peer.finish()
    except ConnectionError:
        return True
    return (await peer.read_to_end())[1] == "reset"


async def test_stream_that_nobody_reads_in_time_is_reset_on_both_sides(house: House) -> None:
    lb, client, peer = await in_stream(house, timeouts=Timeouts(idle_s=0.1))
    sending = asyncio.ensure_future(is_hung_up_on(peer, pattern(LARGE)))
    assert (await lb.record()).ending == "idle_timeout"
    assert (await client.read_to_end())[1] == "reset"
    assert await sending


async def test_idle_tunnel_is_reset_on_both_sides(house: House) -> None:
    _, client, peer = await in_reply(house, UPGRADE, SWITCHING, timeouts=Timeouts(idle_s=0.1))
    assert await client.read_to_end() == (b"", "reset")
    assert await peer.read_to_end() == (b"", "reset")


async def test_half_closed_stream_is_cut_in_its_other_half_only(house: House) -> None:
    _, client, peer = await in_stream(house, timeouts=Timeouts(idle_s=0.3))
    client.finish()
    assert await peer.ended(), "this half was whole"
    assert await client.read_to_end() == (b"", "reset"), "this one was not"


async def speaking(house: House, mode: str, *, buffer: int = 0, **config: object) -> tuple[Balancer, Peer, Peer]:
    """A client and a backend that speak to each other, in either mode."""
    if mode == "tcp":
        return await in_stream(house, buffer=buffer, **config)
    return await in_reply(house, UPGRADE, SWITCHING, buffer=buffer, **config)


@pytest.mark.parametrize("cut", ["idle", "end of the balancer"])
@pytest.mark.parametrize("speaker", ["client", "backend"])
@pytest.mark.parametrize("mode", ["tcp", "tunnel"])
async def test_stream_that_was_whole_outlives_the_other_half(house: House, mode: str, speaker: str, cut: str) -> None:
    """All of it is in the kernel's send buffer, where a reset would destroy it."""
    idle_s = 0.1 if cut == "idle" else 60.0
    lb, client, peer = await speaking(house, mode, buffer=SMALL_BUFFER, timeouts=Timeouts(idle_s=idle_s))
    one, other = (client, peer) if speaker == "client" else (peer, client)
    await one.send(pattern(STORED))
    one.finish()
    if cut != "idle":
        for _ in range(200):  # so that the balancer has passed on the end
            await asyncio.sleep(0)
        assert lb.server.cut_off() == 1
    await lb.record()
    assert await one.read_to_end() == (b"", "reset"), "this half was cut"
    assert await other.read_to_end() == (pattern(STORED), "end")


# What one side said before it broke off


async def broken_off(house: House, mode: str, speaker: str, **config: object) -> tuple[Balancer, Peer]:
    """Somebody to whom much was said by a side that has broken off since; and nothing of it was read yet."""
    lb, client, peer = await speaking(house, mode, buffer=SMALL_BUFFER, **config)
    one, other = (client, peer) if speaker == "client" else (peer, client)
    await one.send(pattern(STORED))
    for _ in range(200):  # so that the balancer has passed it on, and then sees the reset
        await asyncio.sleep(0)
    one.reset()
    for _ in range(200):
        await asyncio.sleep(0)
    return lb, other


@pytest.mark.parametrize("speaker", ["client", "backend"])
@pytest.mark.parametrize("mode", ["tcp", "tunnel"])
async def test_last_words_wait_for_whoever_reads_them_late(house: House, mode: str, speaker: str) -> None:
    lb, other = await broken_off(house, mode, speaker)
    assert not lb.records
    assert await other.read_to_end() == (pattern(STORED), "reset")


async def test_last_words_wait_no_longer_than_the_idle_timeout(house: House) -> None:
    lb, other = await broken_off(house, "tcp", "backend", timeouts=Timeouts(idle_s=0.2))
    assert (await lb.record()).ending == "backend_broke"
    got, ending = await other.read_to_end()
    assert (len(got) < STORED, ending) == (True, "reset")


@pytest.mark.parametrize("how", ["reset", "close"])
async def test_last_words_do_not_wait_for_who_has_left(house: House, how: str) -> None:
    lb, other = await broken_off(house, "tcp", "backend")
    getattr(other, how)()
    assert (await lb.record()).ending == "backend_broke"


async def test_last_words_do_not_delay_the_balancers_end(house: House) -> None:
    lb, other = await broken_off(house, "tcp", "backend")
    assert await lb.server.drain(60.0) == 0
    assert (await lb.record()).ending == "backend_broke"
    assert (await other.read_to_end())[1] == "reset"


@pytest.mark.parametrize("size", [5, 30_000])
@pytest.mark.parametrize("mode", ["tcp", "tunnel"])
async def test_last_words_of_a_backend_that_takes_no_more_are_passed_on(house: House, mode: str, size: int) -> None:
    words = pattern(size)
    lb, client, peer = await (in_stream(house) if mode == "tcp" else in_reply(house, UPGRADE, SWITCHING))
    uploading = asyncio.ensure_future(client.send_for_ever())
    await peer.read(1_000_000)
    await peer.send(words)
    peer.close()  # with bytes unread, which makes it a reset
    assert await client.read(size) == words
    assert (await client.read_to_end())[0] == b""
    with pytest.raises(ConnectionError):
        await uploading
    assert (await lb.record()).ending == ("backend_broke" if mode == "tcp" else "tunnel")


async def test_end_behind_the_last_words_is_a_reset(house: House) -> None:
    lb, client, peer = await in_stream(house)
    await stuff(client)
    await peer.send(b"last words")
    peer.close()  # with bytes unread
    assert await client.read(10) == b"last words"
    assert await client.read_to_end() == (b"", "reset")
    assert (await lb.record()).ending == "backend_broke"


async def stuff(peer: Peer) -> None:
    """Send until nobody takes any more, so that no later sending can come across a reset."""
    idle_turns = 0
    while idle_turns < 200:
        try:
            peer.sock.send(bytes(1 << 20))
            idle_turns = 0
        except BlockingIOError:
            idle_turns += 1
        await asyncio.sleep(0)


async def test_client_that_breaks_off_is_named_in_the_log(house: House) -> None:
    lb, client, peer = await in_stream(house)
    client.reset()
    assert await peer.read_to_end() == (b"", "reset")
    assert (await lb.record()).ending == "client_left"


async def test_upgraded_connection_is_not_lingered_on(house: House) -> None:
    lb, client, peer = await in_reply(house, UPGRADE, SWITCHING, limits=Limits(head_bytes=1024))
    await client.send(b"x" * 100_000)
    await peer.read(10)
    peer.reset()
    await lb.record()
    assert (await client.read_to_end())[1] == "reset"
    await until(lambda: lb.server.connections == 0)


async def test_chunked_body_over_the_limit_never_reaches_a_backend_whole(house: House) -> None:
    backend = house.backend()
    limits = Limits(body_bytes=100_000, request_buffer_bytes=50_000)
    lb = house.balancer([backend], limits=limits)
    client = await lb.client()
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head + chunked(pattern(60_000))[: -len(LAST_CHUNK)])
    peer = await backend.accept()
    await peer.read_until(b"\r\n\r\n")
    await client.send(chunked(pattern(41_000)))  # the end is there with what is too much
    assert (await client.read_message()).status == 413
    got, _ = await peer.read_to_end()
    assert not got.endswith(LAST_CHUNK)


async def test_small_reply_that_its_client_does_not_read_in_time_is_reset(house: House) -> None:
    """Small enough for the express lane."""
    lb, client, peer = await served_once(house, client_buffer=4096, timeouts=Timeouts(idle_s=0.1))
    (served,) = lb.server._clients
    served.channel.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    await client.send(GET)
    await peer.read_message()
    await peer.send(reply(pattern(60_000)))
    assert (await lb.record(1)).ending == "client_left"
    got, ending = await client.read_to_end()
    assert (len(got) < 60_000, ending) == (True, "reset")
