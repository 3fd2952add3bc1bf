"""The date that replies get which have none."""

import re
import time
from email.utils import parsedate_to_datetime

import pytest

from ocr_tcp_lb.relay.date import DateField

from .support import GET, OK, House, reply

IMF_FIXDATE = rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"


def test_a_second_is_written_once() -> None:
    wall = [784111777.25]
    field = DateField(lambda: wall[0])
    first = field.line(100.0)
    assert first == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    wall[0] += 0.75  # the wall clock is not asked before the second is over
    assert field.line(100.74) is first
    assert field.line(100.75) == b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n"


def test_a_wall_clock_that_was_set_back_is_followed() -> None:
    wall = [784111777.0]
    field = DateField(lambda: wall[0])
    field.line(0.0)
    wall[0] -= 3600
    assert field.line(1.0) == b"Date: Sun, 06 Nov 1994 07:49:37 GMT\r\n"


@pytest.mark.parametrize("size", [2, 3_000_000], ids=["small", "large"])
async def test_a_reply_without_a_date_gets_one(house: House, size: int) -> None:
    backend = house.backend()
    backend.answer(lambda request: reply(bytes(size)))
    client = await house.balancer([backend]).client()
    for _ in range(2):
        await client.send(GET)
        (date,) = (await client.read_message()).values(b"date")
        assert re.fullmatch(IMF_FIXDATE, date)
        assert abs(parsedate_to_datetime(date.decode()).timestamp() - time.time()) < 60


async def test_a_backends_own_date_is_kept(house: House) -> None:
    backend = house.backend()
    backend.answer(lambda request: reply(b"ok", b"dAtE: theirs"))
    client = await house.balancer([backend]).client()
    for _ in range(2):
        await client.send(GET)
        assert (await client.read_message()).values(b"date") == [b"theirs"]


async def test_an_interim_reply_needs_no_date(house: House) -> None:
    backend = house.backend()
    client = await house.balancer([backend]).client()
    await client.send(GET)
    peer = await backend.accept()
    await peer.read_message()
    await peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    assert [len((await client.read_message()).values(b"date")) for _ in range(2)] == [0, 1]
    peer.close()


@pytest.mark.parametrize("sent", [GET, b"GET / HTTP/1.1\r\n\r\n"], ids=["no backend", "no request"])
async def test_our_own_replies_are_dated(house: House, sent: bytes) -> None:
    backend = house.backend()
    backend.answer(lambda request: b"nonsense\r\n\r\n")
    client = await house.balancer([backend], retries=0).client()
    await client.send(sent)
    got = await client.read_message()
    assert got.status in (400, 502)
    (date,) = got.values(b"date")
    assert re.fullmatch(IMF_FIXDATE, date)
