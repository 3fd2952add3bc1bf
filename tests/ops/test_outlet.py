"""Lines to a descriptor without blocking the loop: in order, complete, and dropped aloud when nobody reads."""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator

import pytest

from ocr_tcp_lb.ops import outlet as outlet_module
from ocr_tcp_lb.ops.outlet import BATCH_LINES, Outlet

PIPE = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[PIPE]:
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(fd)


def read_all(pipe: PIPE) -> bytes:
    os.close(pipe[1])
    with os.fdopen(os.dup(pipe[0]), "rb") as file:
        return file.read()


async def test_lines_arrive_in_order_and_close_writes_the_last(pipe: PIPE) -> None:
    outlet = Outlet(pipe[1])
    for number in range(0, 10_000, 10):
        outlet.write([b"%d\n" % (number + more) for more in range(10)])
    outlet.close()
    assert read_all(pipe).split() == [b"%d" % number for number in range(10_000)]
    assert outlet.dropped == 0


async def test_line_is_written_without_others(pipe: PIPE) -> None:
    outlet = Outlet(pipe[1])
    outlet.write([b"one\n"])
    outlet.pass_on()
    arrived = asyncio.get_running_loop().run_in_executor(None, os.read, pipe[0], 100)
    assert await asyncio.wait_for(arrived, 5) == b"one\n"
    outlet.close()


async def test_stalled_reader_blocks_nobody_and_the_loss_is_told(pipe: PIPE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet_module, "MOST_LINES", 3 * BATCH_LINES)
    loop = asyncio.get_running_loop()
    outlet = Outlet(pipe[1])
    began = loop.time()
    lines = [b"x" * 999 + b"\n"] * BATCH_LINES  # more than a pipe holds
    for _ in range(20):
        outlet.write(lines)
    assert loop.time() - began < 5
    assert outlet.dropped == 17 * BATCH_LINES, "three batches wait"
    reading = loop.run_in_executor(None, _read_until, pipe[0], b" lines were dropped")
    while not reading.done():
        outlet.write([b"x\n"])
        outlet.pass_on()
        await asyncio.sleep(0.001)
    await reading
    outlet.close(timeout_s=0.1)


async def test_few_lines_at_a_time_are_not_dropped_sooner(pipe: PIPE) -> None:
    outlet = Outlet(pipe[1])
    for number in range(1000):  # 100 s of a quiet service, with a reader that stalls
        outlet.write([b"%0999d\n" % number])
        outlet.pass_on()
    reading = asyncio.get_running_loop().run_in_executor(None, _read_until, pipe[0], b"0999\n")
    await asyncio.wait_for(reading, 10)
    outlet.close()
    assert outlet.dropped == 0


def _read_until(fd: int, mark: bytes) -> None:
    tail = b""
    while mark not in tail:
        tail = tail[-100:] + os.read(fd, 1 << 16)


async def test_reader_that_left_ends_the_log_and_not_the_program(pipe: PIPE, caplog: pytest.LogCaptureFixture) -> None:
    outlet = Outlet(pipe[1])
    os.close(pipe[0])
    for _ in range(3):
        outlet.write([b"x\n"])
        outlet.pass_on()
    outlet.close(timeout_s=0.5)
    assert "cannot be written" in caplog.text
    outlet.write([b"x\n"])
    outlet.pass_on()
    assert outlet.dropped >= 2, "whatever comes now, and what could not be written"


def test_full_disk_costs_lines_and_not_the_log(pipe: PIPE, caplog: pytest.LogCaptureFixture) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    outlet = Outlet(fd)
    for _ in range(3):
        outlet.write([b"lost\n"])
        outlet.pass_on()
    deadline = time.monotonic() + 5
    while outlet.dropped < 3:
        assert time.monotonic() < deadline
    os.dup2(pipe[1], fd)  # there is room again
    outlet.write([b"written\n"])
    outlet.close()
    os.close(fd)
    assert read_all(pipe) == b"\n# 3 lines were lost: they could not be written\nwritten\n"
    assert [record.getMessage() for record in caplog.records] == [
        "the access log cannot be written now: No space left on device"
    ]


async def test_descriptor_that_somebody_made_non_blocking_is_written_all_the_same(pipe: PIPE) -> None:
    os.set_blocking(pipe[1], False)
    loop = asyncio.get_running_loop()
    outlet = Outlet(pipe[1])
    lines = [b"%0500d\n" % number for number in range(1000)]
    reading = loop.run_in_executor(None, _read_until, pipe[0], lines[-1][-20:])
    outlet.write(lines)
    outlet.pass_on()
    await reading
    outlet.close()
