"""Who reads slowly still reads, though the kernel reports nothing until a third of what it holds has drained."""

import asyncio
import time

from ocr_tcp_lb.config import Timeouts
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.readers import FIRST_LOOK, Readers

from .support import GET, Balancer, House, Peer, guest, pattern

IDLE_S = 100.0
SMALL_BUFFER = 16 * 1024
LARGE = 30_000_000  # more than the kernels take of it at once


def stuffed(lb: Balancer) -> tuple[Client, Peer, Readers]:
    """Somebody who has much to read."""
    client, peer = guest(lb)
    while client.channel.writable:
        client.channel.send(pattern(4096))
    readers = Readers(client, client.channel)
    readers.allow(IDLE_S)
    return client, peer, readers


def left_s(client: Client) -> float:
    return client.deadline - time.monotonic()


async def test_who_reads_nothing_has_the_limit_and_no_more(house: House) -> None:
    client, peer, readers = stuffed(house.balancer([house.backend()]))
    first_s = left_s(client)
    assert readers.still_read(IDLE_S), "a first look only tells how much there is to read"
    assert first_s + left_s(client) > 0.99 * IDLE_S
    assert not readers.still_read(IDLE_S)
    peer.close()
    client.close()


async def test_who_reads_little_between_two_looks_has_the_whole_limit_anew(house: House) -> None:
    client, peer, readers = stuffed(house.balancer([house.backend()]))
    readers.still_read(IDLE_S)
    for _ in range(3):
        peer.sock.recv(4096)
        assert readers.still_read(IDLE_S)
        assert left_s(client) > 0.99 * IDLE_S
    assert not readers.still_read(IDLE_S)
    peer.close()
    client.close()


async def test_bytes_that_move_make_it_look_anew(house: House) -> None:
    client, peer, readers = stuffed(house.balancer([house.backend()]))
    readers.still_read(IDLE_S)
    readers.allow(IDLE_S)
    assert left_s(client) < 1.01 * FIRST_LOOK * IDLE_S
    assert readers.still_read(IDLE_S)
    peer.close()
    client.close()


async def reads_for(client: Peer, seconds: float) -> None:
    """Read slowly, but steadily."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert len(await asyncio.get_running_loop().sock_recv(client.sock, 4096))
        await asyncio.sleep(0.01)


async def test_slow_reader_of_a_stream_is_not_idle(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], mode="tcp", timeouts=Timeouts(idle_s=0.1))
    client = await lb.client(receive_buffer=SMALL_BUFFER)
    peer = await backend.accept()
    sending = asyncio.ensure_future(peer.send(pattern(LARGE)))
    await reads_for(client, 0.5)
    assert not lb.records
    await client.read(1)
    sending.cancel()


async def test_slow_reader_of_a_reply_is_not_idle(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], timeouts=Timeouts(idle_s=0.1))
    client = await lb.client(receive_buffer=SMALL_BUFFER)
    await client.send(GET)
    peer = await backend.accept()
    await peer.read_message()
    sending = asyncio.ensure_future(peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + pattern(LARGE)))
    await reads_for(client, 0.5)
    assert not lb.records
    await client.read(1)
    sending.cancel()
