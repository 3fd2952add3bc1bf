"""Lines to a descriptor without blocking the loop: in order, complete, and dropped aloud when nobody reads."""

import asyncio
import contextlib
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocr_tcp_lb.ops.accesslog import json_report
from ocr_tcp_lb.ops.outlet import BATCH_LINES, MOST_BYTES, Outlet

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


async def test_stalled_reader_blocks_nobody_and_the_loss_is_told(pipe: PIPE) -> None:
    loop = asyncio.get_running_loop()
    lines = [b"x" * 999 + b"\n"] * BATCH_LINES  # more than a pipe holds
    outlet = Outlet(pipe[1], most_bytes=3 * 1000 * BATCH_LINES)
    began = loop.time()
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
    assert read_all(pipe) == b"# 3 lines were dropped: they could not be written\nwritten\n"
    assert [record.getMessage() for record in caplog.records] == [
        "the access log cannot be written now: No space left on device"
    ]


def test_line_that_was_cut_is_ended_before_the_loss_is_told(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        outlet = Outlet(file.fileno())
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as a disk of 10 bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
        try:
            outlet.write([b"first\n", b"second\n", b"third\n"])
            outlet.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        outlet.close()
    said = (tmp_path / "log").read_bytes()
    assert said == b"first\nseco\n# 2 lines were dropped: they could not be written\n"
    assert outlet.dropped == 2, "the first was written"


async def test_what_waits_is_bounded_in_bytes(pipe: PIPE) -> None:
    outlet = Outlet(pipe[1])
    line = b"x" * 99_999 + b"\n"
    for _ in range(200):
        outlet.write([line])
        outlet.pass_on()
    assert 200 - outlet.dropped == MOST_BYTES // len(line)
    outlet.close(timeout_s=0.01)


async def test_batch_larger_than_the_bound_is_written_when_nothing_waits(pipe: PIPE) -> None:
    reading = asyncio.get_running_loop().run_in_executor(None, _read_until, pipe[0], b"end\n")
    outlet = Outlet(pipe[1], most_bytes=1000)
    outlet.write([b"x" * 100_000, b"end\n"])
    outlet.close()
    await reading
    assert outlet.dropped == 0


async def test_loss_is_told_at_the_end_in_the_words_of_the_format(pipe: PIPE) -> None:
    outlet = Outlet(pipe[1], json_report, most_bytes=1)
    full = b'"%0100000d"\n' % 0  # more than a pipe holds
    for _ in range(3):
        outlet.write([full])
        outlet.pass_on()
    reading = asyncio.get_running_loop().run_in_executor(None, _read_until, pipe[0], b'{"dropped":2,"why":')
    outlet.close()
    await reading


def test_flush_waits_for_what_was_passed_on_and_not_for_a_reader_that_stalls(pipe: PIPE) -> None:
    outlet = Outlet(pipe[1])
    outlet.write([b"one\n"])
    outlet.flush()
    os.set_blocking(pipe[0], False)
    assert os.read(pipe[0], 100) == b"one\n"
    outlet.write([b"x" * 1_000_000])
    outlet.flush(timeout_s=0.01)
    outlet.flush(timeout_s=1000)  # it is stuck where it was
    os.close(pipe[0])  # the thread ends
    outlet.close()
    outlet.flush(timeout_s=1000)


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
