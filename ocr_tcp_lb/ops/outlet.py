"""Lines to standard output without ever blocking the event loop.

Lines are collected and handed, a batch at a time, to a thread that writes them; waking it costs as much as 50 lines, so
batches are large. A reader that stalls (a full pipe, a slow journal) blocks only that thread; when more than the bound
waits, whole batches are dropped, counted, and the count is written as soon as writing goes on. So they are while
nothing can be written, as on a full disk; only a reader that has left ends it all.
"""

import errno
import logging
import os
import queue
import threading
from contextlib import suppress

log = logging.getLogger(__name__)

BATCH_LINES = 2048
MOST_LINES = 32_768  # that wait for the reader; about 8 MB
GONE = (errno.EPIPE, errno.EBADF)  # nobody will ever read what is written there


class Outlet:
    """Writes lines to a file descriptor in the background; `write` is called on the loop's thread only."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: list[bytes] = []
        self._batches: queue.SimpleQueue[list[bytes] | None] = queue.SimpleQueue()
        self._passed_on = 0  # lines; counted by the loop's thread
        self._done = 0  # written or lost; counted by ours
        self._lost = 0  # the same
        self._dropped = 0
        self._is_over = False  # the reader has left
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
        if len(self._lines) >= BATCH_LINES:
            self.pass_on()

    def pass_on(self) -> None:
        """Have all lines written now."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        if self._is_over:
            self._dropped += len(lines)
            return
        if self._passed_on - self._done >= MOST_LINES:
            self._dropped += len(lines)
            self._unreported += len(lines)
            return
        if self._unreported:
            lines.append(b"# %d lines were dropped: the reader of this log is too slow\n" % self._unreported)
            self._unreported = 0
        self._passed_on += len(lines)
        self._batches.put(lines)

    def _run(self) -> None:
        unreported = 0
        while (lines := self._batches.get()) is not None:
            # The newline ends what was cut when the disk was full.
            report = b"\n# %d lines were lost: they could not be written\n" % unreported if unreported else b""
            try:
                self._write(memoryview(report + b"".join(lines)))
                unreported = 0
            except OSError as error:
                if error.errno in GONE:
                    log.warning("the access log cannot be written: %s", error.strerror)
                    self._lost += len(lines)
                    self._is_over = True
                    self._lose_what_waits()
                    return
                if not unreported:
                    log.warning("the access log cannot be written now: %s", error.strerror)
                unreported += len(lines)
                self._lost += len(lines)
            self._done += len(lines)

    def _lose_what_waits(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._lost += len(self._batches.get_nowait() or ())

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
