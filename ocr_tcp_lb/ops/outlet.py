"""Lines to standard output without ever blocking the event loop.

Lines are collected and handed, a batch at a time, to a thread that writes them; waking it costs as much as 50 lines, so
batches are large. A reader that stalls (a full pipe, a slow journal) blocks only that thread; when more than the bound
waits, whole batches are dropped, counted, and the count is written as soon as writing goes on.
"""

import logging
import os
import queue
import threading

log = logging.getLogger(__name__)

BATCH_LINES = 2048
MOST_LINES = 32_768  # that wait for the reader; about 8 MB


class Outlet:
    """Writes lines to a file descriptor in the background; `write` is called on the loop's thread only."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: list[bytes] = []
        self._batches: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._passed_on = 0  # lines; counted by the loop's thread
        self._written = 0  # counted by ours
        self.dropped = 0  # lines that were not written because the reader did not keep up
        self._unreported = 0
        self._thread = threading.Thread(target=self._run, name="outlet", daemon=True)
        self._thread.start()

    def write(self, lines: list[bytes]) -> None:
        """Take some lines, their newlines included; they are written once there are many, or at `pass_on`."""
        self._lines += lines
        if len(self._lines) >= BATCH_LINES:
            self.pass_on()

    def pass_on(self) -> None:
        """Have all lines written now."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        if self._passed_on - self._written >= MOST_LINES:
            self.dropped += len(lines)
            self._unreported += len(lines)
            return
        if self._unreported:
            lines.append(b"# %d lines were dropped: the reader of this log is too slow\n" % self._unreported)
            self._unreported = 0
        self._passed_on += len(lines)
        self._batches.put(lines)

    def _run(self) -> None:
        while (lines := self._batches.get()) is not None:
            try:
                self._write(memoryview(b"".join(lines)))
            except OSError as error:
                log.warning("the access log cannot be written: %s", error.strerror)
                return
            self._written += len(lines)

    def _write(self, left: memoryview) -> None:
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                os.set_blocking(self._fd, True)  # somebody shares the descriptor with us and changed its mode

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what waits, at most for so long."""
        self.pass_on()
        self._batches.put(None)
        self._thread.join(timeout_s)  # it is a daemon: a reader that is stuck keeps nobody
