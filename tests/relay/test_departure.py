"""Clients that leave while their reply is under way, and those that only look as if they did."""

import asyncio
from typing import NoReturn

import pytest

from ocr_tcp_lb.relay.answer import Answer
from ocr_tcp_lb.relay.attempt import Attempt
from ocr_tcp_lb.relay.upstream import BackendConnection

from .support import GET, OK, Balancer, House, Peer, pattern, post, until

BEGUN = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
REST = b"4\r\nlast\r\n0\r\n\r\n"
UPLOADS = {"nothing": GET, "a small body": post(b"image"), "a large body": post(pattern(300_000))}


async def streaming(house: House, request: bytes = GET, **more: object) -> tuple[Balancer, Peer, Peer]:
    """Balancer, client and backend when the client has the beginning of a reply that goes on."""
    backend = house.backend()
    lb = house.balancer([backend.config("b1", **more)])
    client = await lb.client()
    await client.send(request)
    peer = await backend.accept()
    await peer.read_message()
    await peer.send(BEGUN)
    assert (await client.read_until(b"first\r\n")).startswith(b"HTTP/1.1 200")
    return lb, client, peer


@pytest.mark.parametrize("request_bytes", UPLOADS.values(), ids=UPLOADS)
@pytest.mark.parametrize(("abandon", "leave"), [("cancel", "close"), ("cancel", "reset"), ("hold", "reset")])
async def test_client_that_leaves_is_noticed_while_the_backend_is_quiet(
    house: House, request_bytes: bytes, abandon: str, leave: str
) -> None:
    lb, client, peer = await streaming(house, request_bytes, abandon=abandon)
    getattr(client, leave)()
    assert await peer.ended()
    assert (await lb.record()).ending == "client_left"
    assert lb.in_flight() == 0


async def test_client_that_ends_its_sending_half_gets_the_rest_where_slots_are_held(house: House) -> None:
    lb, client, peer = await streaming(house)
    client.finish()
    for _ in range(3):
        await peer.send(b"1\r\n-\r\n")
        assert await client.read_until(b"-\r\n") == b"1\r\n-\r\n"
    await peer.send(REST)
    assert await client.read_to_end() == (REST, "end")
    assert (await lb.record()).ending == "ok"


async def test_client_that_half_closed_before_its_reply_and_waits_gets_all_of_it(house: House) -> None:
    """It was found out then that it still reads."""
    backend = house.backend()
    lb = house.balancer([backend.config("b1", abandon="cancel")])
    client = await lb.client()
    await client.send(GET)
    client.finish()
    peer = await backend.accept()
    await client.read_until(b"H")
    await peer.send(BEGUN)
    await client.read_until(b"first\r\n")
    await peer.send(REST)
    assert await client.read_to_end() == (REST, "end")


async def test_request_sent_ahead_of_a_long_reply_is_left_alone_and_served_next(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def pump(attempt: Attempt, connection: BackendConnection, answer: Answer) -> bool:
        nonlocal looks
        looks += 1
        return real(attempt, connection, answer)

    real = Attempt._pump
    monkeypatch.setattr(Attempt, "_pump", pump)
    _, client, peer = await streaming(house, abandon="cancel")
    await client.send(post(b"next"))
    await until(lambda: looks > 1)
    before = looks
    for _ in range(100):
        await asyncio.sleep(0)
    assert looks <= before + 1, "it spins"
    await peer.send(REST)
    assert await client.read(len(REST)) == REST
    assert (await peer.read_message()).body == b"next"
    await peer.send(OK)
    assert (await client.read_message()).body == b"ok"


async def go_on_for_ever(peer: Peer) -> NoReturn:
    while True:
        await peer.send(b"5\r\nchunk\r\n")


async def test_client_that_sent_ahead_and_leaves_is_noticed_when_the_backend_goes_on(house: House) -> None:
    lb, client, peer = await streaming(house)
    await client.send(GET)
    client.reset()
    with pytest.raises(ConnectionError):
        await go_on_for_ever(peer)
    assert (await lb.record()).ending == "client_left"
