"""Time limits without a timer a request: one coarse sweep looks at every connection's deadline.

A deadline is a plain attribute, in seconds of `time.monotonic` (uvloop's own clock is cut to milliseconds), so that
setting one costs a float and no heap operation. The sweep comes a few times within the shortest limit; a limit is
therefore kept to about +10 %, never early.
"""

import asyncio
import math
import time
from typing import Protocol

from ocr_tcp_lb.relay.readiness import Wakeup

NEVER = math.inf
FINEST_S, COARSEST_S = 0.02, 0.5  # 10,000 connections cost 1 ms a sweep: 0.2 % of a core at the coarsest


class Guarded(Protocol):
    """Something with a deadline; the sweep sets `expired` and fires the wake-up when it has passed."""

    deadline: float
    expired: bool
    wakeup: Wakeup


class Deadlines:
    """The sweep over everything that is guarded."""

    def __init__(self, loop: asyncio.AbstractEventLoop, shortest_limit_s: float) -> None:
        self._loop = loop
        self.set_shortest(shortest_limit_s)
        self._guarded: dict[Guarded, None] = {}  # a set with an order: who expires in one sweep is woken by seniority
        self._timer: asyncio.TimerHandle | None = None

    def set_shortest(self, limit_s: float) -> None:
        """Sweep often enough for a limit of `limit_s`."""
        self._interval_s = min(COARSEST_S, max(FINEST_S, limit_s / 10))

    def __len__(self) -> int:
        return len(self._guarded)

    def guard(self, guarded: Guarded) -> None:
        """Watch its deadline from now on."""
        self._guarded[guarded] = None
        if self._timer is None:
            self._timer = self._loop.call_later(self._interval_s, self._sweep)

    def release(self, guarded: Guarded) -> None:
        """Stop watching; safe when it is not watched."""
        self._guarded.pop(guarded, None)

    def _sweep(self) -> None:
        # Armed anew first, so that it outlives a mistake in what it wakes. With nothing to guard it rests.
        self._timer = self._loop.call_later(self._interval_s, self._sweep) if self._guarded else None
        now = time.monotonic()
        for guarded in [one for one in self._guarded if one.deadline <= now]:
            guarded.deadline = NEVER
            guarded.expired = True
            guarded.wakeup.fire()

    def close(self) -> None:
        """End the sweep."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
