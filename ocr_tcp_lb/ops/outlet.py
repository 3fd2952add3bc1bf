"""Lines to standard output without ever blocking the event loop.

Lines are collected in memory and handed, a batch at a time, to a thread that writes them. A reader that stalls
(a full pipe, a slow journal) blocks only that thread; when more than the bound waits, whole batches are dropped,
counted, and the count is written as soon as writing goes on.
"""

import asyncio
import logging
import os
import queue
import threading

log = logging.getLogger(__name__)

BATCH_S = 0.1  # a line is at most this late
BATCH_LINES = 512
MOST_BATCHES = 64  # about 5 MB of lines


class Outlet:
    """Writes lines to a file descriptor in the background; `write` is called on the loop's thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        self._loop = loop
        self._fd = fd
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._batches: queue.Queue[bytes | None] = queue.Queue(MOST_BATCHES)
        self.dropped = 0  # lines that were not written because the reader did not keep up
        self._unreported = 0
        self._thread = threading.Thread(target=self._run, name="outlet", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Take one line, its newline included."""
        self._lines.append(line)
        if self._timer is None:
            self._timer = self._loop.call_later(BATCH_S, self._pass_on)
        elif len(self._lines) >= BATCH_LINES:
            self._timer.cancel()
            self._pass_on()

    def _pass_on(self) -> None:
        self._timer = None
        lines, self._lines = self._lines, []
        if not lines:
            return
        if self._unreported:
            lines.append(f"# {self._unreported} lines were dropped: the reader of this log is too slow\n")
        try:
            self._batches.put_nowait("".join(lines).encode())
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
        if self._timer is not None:
            self._timer.cancel()
        self._pass_on()
        try:
            self._batches.put(None, timeout=timeout_s)
        except queue.Full:
            return  # the reader is stuck; the thread is a daemon
        self._thread.join(timeout_s)
