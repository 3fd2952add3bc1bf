"""Every row of the table, on a real socket, whole and byte by byte, on both loops."""

import asyncio
from pathlib import Path

import pytest
from relay.support import Balancer, House, Message, Peer, until

from ocr_tcp_lb.config import Limits, Timeouts

from .chunks import CHUNKS
from .replies import REPLIES
from .requests import REQUESTS
from .row import BROKEN, CLOSED, ENDS, NOTHING, OK, RESETS, Row

README = Path(__file__).resolve().parents[2] / "README.md"
TABLE = (*REQUESTS, *CHUNKS, *REPLIES)
EVIL = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
MOST_BYTEWISE = 200


def test_the_table_is_complete() -> None:
    assert f"a table of {len(TABLE)} cases" in README.read_text()
    assert len({row.name for row in TABLE}) == len(TABLE)
    assert all(row.rule.startswith("RFC ") for row in TABLE)


def balancer(house: House, row: Row) -> Balancer:
    """A balancer before one backend that is given no second chance."""
    return house.balancer([house.backend()], retries=0, limits=Limits(**row.limits), timeouts=Timeouts(**row.timeouts))


@pytest.mark.parametrize("row", [row for row in TABLE if row.reached is NOTHING], ids=str)
async def test_backend_hears_nothing(house: House, row: Row) -> None:
    lb = balancer(house, row)
    await refuse(lb, row, bytewise=False)
    if len(row.sent) <= MOST_BYTEWISE:
        await refuse(lb, row, bytewise=True)
    assert not house.backends[0].has_caller()


async def refuse(lb: Balancer, row: Row, *, bytewise: bool) -> None:
    """The client is told once, in JSON, and the connection ends; what stands behind is never looked at."""
    client = await lb.client()
    if bytewise:
        await send_bytewise(client, row.sent)
    else:
        await client.send(row.sent if row.timeouts else row.sent + EVIL)
    if row.answer != CLOSED:
        got = await client.read_message()
        assert (got.status, got.values(b"connection")) == (row.answer, [b"close"])
        assert got.values(b"content-type") == [b"application/json"]
        assert b'"error"' in got.body
    client.finish()
    assert await client.ended()


async def send_bytewise(client: Peer, data: bytes) -> None:
    """Each byte is read on its own, as long as anybody reads."""
    for index in range(len(data)):
        try:
            await client.send(data[index : index + 1])
        except ConnectionError:
            return
        await asyncio.sleep(0)


@pytest.mark.parametrize("row", [row for row in TABLE if row.reached is not NOTHING], ids=str)
async def test_backend_hears_exactly_this(house: House, row: Row) -> None:
    lb = balancer(house, row)
    await serve(house, lb, row, bytewise=False)
    if len(row.sent) + len(row.reply) <= MOST_BYTEWISE:
        await serve(house, lb, row, bytewise=True)


async def serve(house: House, lb: Balancer, row: Row, *, bytewise: bool) -> None:
    """One request and its reply, both as the row says."""
    client = await lb.client()
    await (send_bytewise(client, row.sent) if bytewise else client.send(row.sent))
    peer = await caller(house)
    heard = await hear(peer, row)
    assert heard == row.reached, "the backend was told something else"
    asks = asyncio.ensure_future(speak(peer, row, bytewise=bytewise))
    await expect(client, row)
    await asks
    client.close()
    await until(lambda: lb.in_flight() == 0)
    await never_evil(house, lb, peer)


async def caller(house: House) -> Peer:
    """The balancer's connection to the backend."""
    return await house.backends[0].accept()


async def hear(peer: Peer, row: Row) -> tuple[bytes, ...]:
    """The head's lines without those that the balancer adds, which are checked, and the raw body."""
    start, *lines = (await peer.read_until(b"\r\n\r\n"))[:-4].split(b"\r\n")
    added = [line for line in lines if line.startswith((b"Via: ", b"X-Forwarded-", b"X-Request-Id: "))]
    names = [line.partition(b":")[0] for line in added]
    assert names == [b"Via", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Request-Id"]
    assert added[1] == b"X-Forwarded-For: 127.0.0.1"
    return (start, *(line for line in lines if line not in added), await peer.read(len(row.reached[-1])))


async def speak(peer: Peer, row: Row, *, bytewise: bool) -> None:
    """The backend's part; the balancer may hang up on it in the middle."""
    try:
        await (send_bytewise(peer, row.reply) if bytewise else peer.send(row.reply))
        if row.then == ENDS:
            peer.finish()
        elif row.then == RESETS:
            peer.reset()
    except OSError:
        return


async def expect(client: Peer, row: Row) -> None:
    """The client's part: the whole answer, or the break."""
    if row.answer == BROKEN:
        data, ending = await client.read_to_end()
        assert ending == "reset", "a reply that broke off must not look as if it had ended"
        assert data.partition(b"\r\n\r\n")[2] in (row.body, b""), "a reset may overtake bytes, not change them"
        return
    got = await final(client, row)
    assert got.status == row.answer
    if got.status >= 500:
        assert b'"error"' in got.body
    else:
        assert got.body == row.body


async def final(client: Peer, row: Row) -> Message:
    """The final reply, interim ones skipped."""
    while True:
        got = await client.read_message(has_body=not row.sent.startswith(b"HEAD"))
        if got.status >= 200:
            return got


async def never_evil(house: House, lb: Balancer, peer: Peer) -> None:
    """The next client gets its own reply, on whichever connection."""
    other = await lb.client()
    await other.send(EVIL)
    accepting = asyncio.ensure_future(caller(house))
    reading = asyncio.ensure_future(reads_again(peer))
    done, _ = await asyncio.wait({accepting, reading}, return_when=asyncio.FIRST_COMPLETED)
    fresh = peer if reading in done and reading.result() else await accepting
    if fresh is not peer:
        await fresh.read_until(b"\r\n\r\n")
    accepting.cancel()
    await fresh.send(OK)
    assert (await other.read_message()).body == b"ok"
    other.close()
    fresh.close()
    peer.close()
    await until(lambda: lb.in_flight() == 0)


async def reads_again(peer: Peer) -> bool:
    """Whether another request comes on the backend's connection, or its end."""
    if peer.sock.fileno() < 0:
        return False
    try:
        return bool(await peer.read_until(b"\r\n\r\n"))
    except (AssertionError, OSError):
        return False
