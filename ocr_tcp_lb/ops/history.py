"""The last ten minutes, a point every two seconds, for the charts of the status page.

`History.add` is told the counters as they stand; it keeps the differences in a ring. Times are wall-clock seconds.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from ocr_tcp_lb.ops.histogram import FINE_SERVICE_BOUNDS_S, percentile
from ocr_tcp_lb.ops.words import rounded_ms

STEP_S = 2.0
POINTS = 300


@dataclass(frozen=True, slots=True)
class Totals:
    """Counters at one moment; they only grow."""

    requests: int = 0
    errors: int = 0
    durations: Sequence[int] = ()  # the fine buckets


@dataclass(frozen=True, slots=True)
class Point:
    """What happened in one step, and the deepest queue seen in it."""

    number: int  # of this point since the start
    at: float
    requests_per_s: float
    errors_per_s: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    waiting: int
    in_flight: int
    lag_ms: float  # the longest in the step


class History:
    """A ring of points."""

    def __init__(self, points: int = POINTS) -> None:
        self._points: deque[Point] = deque(maxlen=points)
        self._before = Totals()
        self._number = 0

    def add(self, at: float, passed_s: float, totals: Totals, waiting: int, in_flight: int, lag_s: float) -> None:
        """Keep one step, which took `passed_s`."""
        before, self._before = self._before, totals
        durations = totals.durations
        if before.durations:
            durations = [now - then for now, then in zip(totals.durations, before.durations, strict=True)]
        self._number += 1
        self._points.append(
            Point(
                number=self._number,
                at=round(at, 1),
                requests_per_s=round((totals.requests - before.requests) / passed_s, 2),
                errors_per_s=round((totals.errors - before.errors) / passed_s, 2),
                p50_ms=_ms(durations, 0.50),
                p95_ms=_ms(durations, 0.95),
                p99_ms=_ms(durations, 0.99),
                waiting=waiting,
                in_flight=in_flight,
                lag_ms=round(lag_s * 1000, 2),
            )
        )

    def after(self, number: int) -> list[Point]:
        """Return the points after this one, oldest first; 0 gives all that are kept."""
        return [point for point in self._points if point.number > number]


def _ms(durations: Sequence[int], share: float) -> float | None:
    return rounded_ms(percentile(durations, FINE_SERVICE_BOUNDS_S, share))
