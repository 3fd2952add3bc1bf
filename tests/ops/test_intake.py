"""Records are counted and written soon, all of them, in their order; and whoever asks sees them at once."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from ocr_tcp_lb.ops import intake as intake_module
from ocr_tcp_lb.ops.intake import MOST_RECORDS, AccessLog, Intake
from ocr_tcp_lb.ops.outlet import Outlet
from ocr_tcp_lb.ops.tally import Tally
from ocr_tcp_lb.relay.record import Record


def record(number: int = 0) -> Record:
    one = Record("127.0.0.1", b"%d" % number)
    one.status, one.backend = 200, "b1"
    return one


def line(one: Record) -> bytes:
    return one.request_id + b"\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


async def test_whoever_asks_for_the_counters_sees_every_record() -> None:
    intake = Intake(asyncio.get_running_loop(), Tally(), None)
    for number in range(1, MOST_RECORDS + 50):
        intake.take(record())
        assert intake.tally.requests == number
    intake.close()


async def test_many_records_are_counted_without_being_asked_for() -> None:
    tally = Tally()
    intake = Intake(asyncio.get_running_loop(), tally, None)
    for _ in range(2 * MOST_RECORDS + 1):
        intake.take(record())
    assert tally.requests == 2 * MOST_RECORDS, "so what waits is bounded"
    intake.close()
    assert tally.requests == 2 * MOST_RECORDS + 1


async def test_lonely_record_is_written_soon(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "LATEST_S", 0.01)
    loop = asyncio.get_running_loop()
    intake = Intake(loop, None, AccessLog(line, Outlet(pipe[1])))
    for number in (1, 2):  # the timer is set anew after it fired
        intake.take(record(number))
        assert await asyncio.wait_for(loop.run_in_executor(None, os.read, pipe[0], 100), 5) == b"%d\n" % number
    intake.close()


async def test_lines_are_in_order_and_the_last_ones_are_written_at_the_end(pipe: tuple[int, int]) -> None:
    intake = Intake(asyncio.get_running_loop(), Tally(), AccessLog(line, Outlet(pipe[1])))
    for number in range(MOST_RECORDS + 10):
        intake.take(record(number))
        if number == 5:
            assert intake.tally.requests == 6, "to ask in between neither loses nor repeats one"
    intake.close()
    assert os.read(pipe[0], 1 << 16).split() == [b"%d" % number for number in range(MOST_RECORDS + 10)]
    assert (intake.tally.requests, intake.lines_dropped) == (MOST_RECORDS + 10, 0)
