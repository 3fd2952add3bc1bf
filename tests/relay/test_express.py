"""The express lane hands over to the general one at any point: the client, the log and the backend see one request."""

import pytest

from ocr_tcp_lb.wire import ReplyHead, ReplyParser

from .support import GET, OK, Balancer, House, Peer, chunked, replaces_a_part

REPLIES = {
    "whole": OK,
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"o", b"k"),
    "after an interim one": b"HTTP/1.1 102 Processing\r\n\r\n" + OK,
    "with bytes behind it": OK + b"?",
}


async def served_once(house: House) -> tuple[Balancer, Peer, Peer]:
    """Balancer, client and backend after a first request: the next one may take the express lane."""
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(GET)
    peer = await backend.accept()
    await peer.read_message()
    await peer.send(OK)
    await client.read_message()
    return lb, client, peer


@pytest.mark.parametrize("sent", REPLIES.values(), ids=REPLIES)
async def test_request_keeps_its_id_in_every_lane(house: House, sent: bytes) -> None:
    lb, client, peer = await served_once(house)
    await client.send(GET)
    request = await peer.read_message()
    await peer.send(sent)
    got = await client.read_message()
    while got.status < 200:
        got = await client.read_message()
    record = await lb.record(1)
    assert (got.status, got.body, record.ending) == (200, b"ok", "ok")
    assert request.values(b"x-request-id") == got.values(b"x-request-id") == [record.request_id]


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
