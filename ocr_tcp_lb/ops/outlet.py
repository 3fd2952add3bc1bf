"""Lines to standard output without ever blocking the event loop.

Batches of lines are handed to a thread that writes them. A reader that stalls (a full pipe, a slow journal) blocks only
that thread; when more than the bound waits, whole batches are dropped, counted, and the count is written as soon as
writing goes on.
"""

import logging
import os
import queue
import threading

log = logging.getLogger(__name__)

MOST_BATCHES = 128  # of 256 lines: about 7 MB


class Outlet:
    """Writes lines to a file descriptor in the background; `write` is called on the loop's thread only."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._batches: queue.Queue[bytes | None] = queue.Queue(MOST_BATCHES)
        self.dropped = 0  # lines that were not written because the reader did not keep up
        self._unreported = 0
        self._thread = threading.Thread(target=self._run, name="outlet", daemon=True)
        self._thread.start()

    def write(self, lines: list[bytes]) -> None:
        """Take some lines, their newlines included."""
        if self._unreported:
            lines = [*lines, b"# %d lines were dropped: the reader of this log is too slow\n" % self._unreported]
        try:
            self._batches.put_nowait(b"".join(lines))
        except queue.Full:
            lost = len(lines) - bool(self._unreported)
            self.dropped += lost
            self._unreported += lost
        else:
            self._unreported = 0

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                self._write(memoryview(batch))
            except OSError as error:
                log.warning("the access log cannot be written: %s", error.strerror)
                return

    def _write(self, left: memoryview) -> None:
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                os.set_blocking(self._fd, True)  # somebody shares the descriptor with us and changed its mode

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what waits, at most for so long."""
        try:
            self._batches.put(None, timeout=timeout_s)
        except queue.Full:
            return  # the reader is stuck; the thread is a daemon
        self._thread.join(timeout_s)
