"""An error that was kept from its client for a retry, and is given to it when there is none."""

from typing import Any

import pytest

from bench.ports import free_port
from ocr_tcp_lb.config import BackendConfig, Limits, QueueConfig

from .support import GET, OK, Balancer, House, Message, Peer, post, reply, until

ERROR = reply(b"my bug!", b"X-Worker: w1", status=b"500 Oops")
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
SOON = QueueConfig(timeout_s=0.05)
LATER = QueueConfig(timeout_s=60.0)


async def one_busy(house: House, **config: Any) -> tuple[Balancer, Peer, Peer]:
    """A client, and the first of two backends, when the second is busy with the request of another client."""
    first, second = house.backend(), house.backend()
    config = {"queue": SOON, "policy": "round-robin", **config}
    lb = house.balancer([one.config(f"b{n}", concurrency=1) for n, one in enumerate((first, second), 1)], **config)
    clients = [await lb.client() for _ in range(2)]
    await clients[0].send(GET)
    peer = await first.accept()
    await peer.read_message()
    await clients[1].send(GET)
    await (await second.accept()).read_message()
    await peer.send(OK)
    await clients[0].read_message()
    await until(lambda: lb.in_flight() == 1)
    return lb, clients[0], peer


async def exchange(client: Peer, peer: Peer, sent: bytes = ERROR, request: bytes = GET) -> None:
    """The first backend answers the client's request with this."""
    await client.send(request)
    await peer.read_message()
    await peer.send(sent)


async def after(client: Peer, peer: Peer, sent: bytes, request: bytes = GET) -> Message:
    """What the client gets when the first backend answers with this."""
    await exchange(client, peer, sent, request)
    return await client.read_message(has_body=request is not HEAD)


async def test_client_gets_it_when_no_other_backend_became_free_in_time(house: House) -> None:
    lb, client, peer = await one_busy(house, debug_headers=True)
    got = await after(client, peer, ERROR)
    assert (got.status, got.body) == (500, b"my bug!")
    assert [got.values(name) for name in (b"x-worker", b"x-backend", b"x-attempts")] == [[b"w1"], [b"b1"], [b"1"]]
    record = await lb.record(1)
    assert (record.status, record.ending, record.backend, record.bytes_out) == (500, "ok", "b1", 7)
    assert got.values(b"x-request-id") == [record.request_id]
    assert record.asked <= record.leased <= record.connected <= record.answered < record.ended
    assert lb.hub.slabs.used_bytes == 0
    await client.send(GET)
    peer = await house.backends[0].accept()
    await peer.read_message()
    await peer.send(OK)
    assert (await client.read_message()).body == b"ok", "the connection goes on"


@pytest.mark.parametrize("cut", [len(ERROR) - 7, len(ERROR) - 1, len(ERROR)])
async def test_its_body_may_come_later_than_its_head(house: House, cut: int) -> None:
    lb, client, peer = await one_busy(house)
    await exchange(client, peer, ERROR[:cut])
    if cut < len(ERROR):
        await until(lambda: lb.hub.slabs.used_bytes == 7)
    await peer.send(ERROR[cut:] + b"and more")
    assert (await client.read_message()).body == b"my bug!"
    assert lb.hub.slabs.used_bytes == 0


async def test_answer_to_head_is_kept_without_a_body(house: House) -> None:
    _, client, peer = await one_busy(house)
    got = await after(client, peer, ERROR[:-7], HEAD)
    assert (got.status, got.values(b"content-length")) == (500, [b"7"])


async def test_client_with_a_deadline_gets_it_then(house: House) -> None:
    _, client, peer = await one_busy(house, queue=LATER)
    request = GET[:-2] + b"X-Request-Deadline-Ms: 200\r\n\r\n"
    assert (await after(client, peer, ERROR, request)).body == b"my bug!"


async def test_client_gets_it_when_the_other_one_cannot_be_reached(house: House) -> None:
    backend, down = house.backend(), BackendConfig("b2", "127.0.0.1", free_port())
    backend.answer(lambda request: ERROR)
    lb = house.balancer([backend.config("b1"), down], policy="round-robin", queue=SOON, retries=1)
    client = await lb.client()
    await client.send(GET)
    assert (await client.read_message()).body == b"my bug!"
    assert (await lb.record()).backend == "b1"


async def test_client_gets_what_the_other_one_says_if_there_is_time(house: House) -> None:
    lb, client, peer = await one_busy(house, queue=LATER)
    await exchange(client, peer)
    await until(lambda: lb.waiting == 1)
    assert lb.hub.slabs.used_bytes == 7
    busy = house.backends[1].peers[0]
    await busy.send(OK)
    await busy.read_message()
    await busy.send(OK)
    assert (await client.read_message()).status == 200
    assert lb.hub.slabs.used_bytes == 0


async def test_client_is_told_of_the_last_backend_that_had_the_request(house: House) -> None:
    lb, client, peer = await one_busy(house, queue=LATER)
    await exchange(client, peer)
    await until(lambda: lb.waiting == 1)
    busy = house.backends[1].peers[0]
    await busy.send(OK)
    await busy.read_message()
    await busy.send(b"nonsense\r\n\r\n")
    peer = await house.backends[0].accept()
    await peer.read_message()
    await peer.send(b"nonsense\r\n\r\n")
    assert (await client.read_message()).status == 502
    assert lb.hub.slabs.used_bytes == 0


@pytest.mark.parametrize(
    "limits", [Limits(reply_buffer_bytes=6), Limits(buffer_memory_bytes=6)], ids=["large", "memory"]
)
async def test_what_cannot_be_held_is_not_kept(house: House, limits: Limits) -> None:
    _, client, peer = await one_busy(house, limits=limits)
    assert (await after(client, peer, ERROR)).status == 503


async def test_error_to_a_body_that_is_still_to_come_is_given_at_once(house: House) -> None:
    """What streams cannot be sent to another."""
    limits = Limits(request_buffer_bytes=64 * 1024)
    _, client, peer = await one_busy(house, limits=limits, replay_post=True)
    await client.send(post(bytes(100_000))[:70_000])
    await peer.read_head()
    await peer.send(ERROR)
    got = await client.read_message()
    assert (got.status, got.values(b"connection")) == (500, [b"close"])


async def test_client_that_leaves_meanwhile_leaves_no_memory_taken(house: House) -> None:
    lb, client, peer = await one_busy(house, queue=LATER)
    await exchange(client, peer)
    await until(lambda: lb.waiting == 1)
    client.reset()
    await until(lambda: lb.waiting == 0)
    assert (await lb.record(1)).ending == "client_left"
    assert lb.hub.slabs.used_bytes == 0


async def test_client_that_left_while_the_error_came_leaves_no_memory_taken(house: House) -> None:
    lb, client, peer = await one_busy(house)
    await exchange(client, peer, ERROR[:-1])
    await until(lambda: lb.hub.slabs.used_bytes == 7)
    client.reset()
    await peer.send(ERROR[-1:])
    assert (await lb.record(1)).ending == "client_left"
    assert lb.hub.slabs.used_bytes == 0


async def test_client_that_half_closed_gets_it_once(house: House) -> None:
    _, client, peer = await one_busy(house)
    await client.send(GET)
    await peer.read_message()
    client.finish()
    await client.read_until(b"H")
    await peer.send(ERROR)
    rest, ending = await client.read_to_end()
    assert rest.startswith(b"TTP/1.1 500 ")
    assert ending == "end"
