"""Which connections to a backend serve another request: none on which the last one may still stand unread."""

import pytest

from .support import GET, OK, House, Peer, chunked, post, reply, until

SMUGGLED = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
UNREAD = {
    "with a length": post(SMUGGLED),
    "in chunks": CHUNKED + chunked(SMUGGLED),
    "no bytes in chunks": CHUNKED + chunked(),
}


async def after(house: House, request: bytes, sent: bytes, **config: object) -> tuple[Peer, bool]:
    """The client after such an exchange on a connection that served others; whether the connection was kept."""
    backend = house.backend()
    lb = house.balancer([backend], **config)
    client = await lb.client()
    await client.send(GET)
    peer = await backend.accept()
    await peer.read_message()
    await peer.send(OK)
    await client.read_message()
    await client.send(request)
    await peer.read_head()  # and not more
    await peer.send(sent)
    await client.read_message()
    await until(lambda: lb.in_flight() == 0)
    return client, bool(lb.upstream("b1")._idle)


@pytest.mark.parametrize("request_bytes", UNREAD.values(), ids=UNREAD)
@pytest.mark.parametrize("status", [b"302 Found", b"401 Unauthorized", b"413 Content Too Large", b"500 Oops"])
async def test_refused_body_may_be_unread_and_then_nobody_follows_it(
    house: House, request_bytes: bytes, status: bytes
) -> None:
    """Python's http.server takes it for a request, and the reply to that would go to another client."""
    client, was_kept = await after(house, request_bytes, reply(b"no", status=status))
    assert not was_kept
    await client.send(GET)
    peer = await house.backends[0].accept()
    await peer.read_message()
    await peer.send(OK)
    assert (await client.read_message()).body == b"ok"


async def test_long_refusal_of_a_body_ends_the_connection_too(house: House) -> None:
    _, was_kept = await after(house, post(b"image"), reply(bytes(300_000), status=b"403 Forbidden"))
    assert not was_kept


async def test_refusal_of_a_request_that_might_be_hedged_ends_the_connection_too(house: House) -> None:
    _, was_kept = await after(
        house, post(b"image"), reply(b"no", status=b"404 Not Found"), hedge=True, replay_post=True
    )
    assert not was_kept


KEPT = {
    "nothing to be read": (GET, reply(b"no", status=b"404 Not Found")),
    "an empty body": (post(b""), reply(b"no", status=b"403 Forbidden")),
    "a body that was taken": (post(b"image"), reply(b"yes", status=b"201 Created")),
}


@pytest.mark.parametrize(("request_bytes", "sent"), KEPT.values(), ids=KEPT)
async def test_connection_is_kept_where_nothing_can_be_left_of_the_request(
    house: House, request_bytes: bytes, sent: bytes
) -> None:
    _, was_kept = await after(house, request_bytes, sent)
    assert was_kept
