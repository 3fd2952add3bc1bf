"""Lines to standard output or standard error without ever blocking the event loop.

Lines are collected and handed, a batch at a time, to a thread that writes them; waking it costs as much as 50 lines, so
batches are large. A reader that stalls (a full pipe, a slow journal) blocks only that thread; when as many bytes as the
bound wait, whole batches are dropped, counted, and the count is written as soon as writing goes on. So they are while
nothing can be written, as on a full disk; only a reader that has left ends it all.
"""

import errno
import logging
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger(__name__)

BATCH_LINES = 2048
BATCH_BYTES = 512 * 1024
MOST_BYTES = 8_000_000  # that wait for the reader; about 32,000 lines
PATIENCE_S = 2.0  # for the last lines
GONE = (errno.EPIPE, errno.EBADF)  # nobody will ever read what is written there
TOO_SLOW = "the reader of this log is too slow"
UNWRITABLE = "they could not be written"

Report = Callable[[int, str], bytes]  # says how many lines were dropped, and why; a line, its newline included


def complain_of_access_log(what: str) -> None:
    """Tell the operator, among the messages."""
    log.warning("the access log %s", what)


def text_report(count: int, why: str) -> bytes:
    """Return a line that no line of a log is mistaken for."""
    return f"# {count} lines were dropped: {why}\n".encode()


class Outlet:
    """Writes lines to a file descriptor in the background; all is called on one thread, or one at a time."""

    def __init__(
        self,
        fd: int,
        report: Report = text_report,
        *,
        most_bytes: int = MOST_BYTES,
        complain: Callable[[str], None] = complain_of_access_log,
    ) -> None:
        """`complain` is told on the thread that writes, once when nothing can be written."""
        self._fd = fd
        self._report = report
        self._most_bytes = most_bytes
        self._complain = complain
        self._lines: list[bytes] = []
        self._collected = 0  # their bytes
        # Batches, somebody who waits until all before is written, and the end.
        self._queue: queue.SimpleQueue[bytes | threading.Event | None] = queue.SimpleQueue()
        self._passed_on = 0  # bytes; counted by the callers
        self._done = 0  # bytes that were written or lost; counted by our thread
        self._lost = 0  # lines; the same
        self._unreported_lost = 0  # the same
        self._is_cut = False  # the last line that was written has no end; the same
        self._is_over = False  # the reader has left; the same
        self._stuck_at = -1
        self._dropped = 0  # lines
        self._unreported = 0
        self._thread = threading.Thread(target=self._run, name="outlet", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were not written, because the reader did not keep up or the kernel refused them."""
        return self._dropped + self._lost

    def write(self, lines: list[bytes]) -> None:
        """Take some lines, their newlines included; they are written once there are many, or at `pass_on`."""
        self._lines += lines
        self._collected += sum(map(len, lines))
        if len(self._lines) >= BATCH_LINES or self._collected >= BATCH_BYTES:
            self.pass_on()

    def pass_on(self) -> None:
        """Have all lines written now."""
        lines, self._lines, self._collected = self._lines, [], 0
        if not lines:
            return
        batch = b"".join(lines)
        waiting = self._passed_on - self._done
        if self._is_over:
            self._dropped += batch.count(b"\n")
        elif waiting and waiting + len(batch) > self._most_bytes:
            dropped = batch.count(b"\n")
            self._dropped += dropped
            self._unreported += dropped
        else:
            self._put(batch)

    def _put(self, batch: bytes) -> None:
        if self._unreported:
            batch = self._report(self._unreported, TOO_SLOW) + batch
            self._unreported = 0
        self._passed_on += len(batch)
        self._queue.put(batch)

    def flush(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait until all is written, at most for so long."""
        self._put_last()
        written = threading.Event()
        self._queue.put(written)
        if not self._is_over and self._done != self._stuck_at and not written.wait(timeout_s):
            self._stuck_at = self._done  # whoever asks again waits only if something was written since

    def close(self, timeout_s: float = PATIENCE_S) -> None:
        """Write what waits, at most for so long."""
        self._put_last()
        self._queue.put(None)
        self._thread.join(timeout_s)  # it is a daemon: a reader that is stuck keeps nobody

    def _put_last(self) -> None:
        self.pass_on()
        if self._unreported:
            self._put(b"")

    def _run(self) -> None:
        item: bytes | threading.Event | None = b""
        while item is not None and not self._is_over:
            item = self._queue.get()
            batch = item if isinstance(item, bytes) else b""
            self._write_or_lose(batch)
            self._done += len(batch)
            if isinstance(item, threading.Event):
                item.set()
        if self._is_over:
            self._lose_what_waits()

    def _write_or_lose(self, batch: bytes) -> None:
        report = self._report(self._unreported_lost, UNWRITABLE) if self._unreported_lost else b""
        if self._is_cut and report:
            report = b"\n" + report
        data = report + batch
        written, error = self._write(memoryview(data))
        if written:
            self._is_cut = not data.endswith(b"\n", 0, written)
        if written >= len(report):
            self._unreported_lost = 0
        if error is None:
            return
        lost = data.count(b"\n", max(written, len(report)))
        self._is_over = error.errno in GONE
        if self._is_over or not self._unreported_lost:
            self._complain(f"cannot be written{'' if self._is_over else ' now'}: {error.strerror}")
        self._lost += lost
        self._unreported_lost += lost

    def _write(self, left: memoryview) -> tuple[int, OSError | None]:
        """How many bytes were written, and what kept the others from it."""
        size = len(left)
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                os.set_blocking(self._fd, True)  # somebody shares the descriptor with us and changed its mode
            except OSError as error:
                return size - len(left), error
        return size, None

    def _lose_what_waits(self) -> None:
        with suppress(queue.Empty):
            while True:
                item = self._queue.get_nowait()
                if isinstance(item, bytes):
                    self._lost += item.count(b"\n")
                elif item is not None:
                    item.set()
