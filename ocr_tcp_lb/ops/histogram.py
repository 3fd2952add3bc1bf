"""Histograms of seconds: one bisect a value, cumulative buckets for Prometheus, percentiles for the page.

Each published bucket is kept as `FINENESS` finer ones, so that a percentile is right within about 20 %
while the metrics stay few. Counts only grow; whoever wants a window subtracts two `counts`.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

# From the overhead of a cached answer to the longest response time-out; OCR takes 50 ms to minutes.
SERVICE_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
LAG_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
FINENESS = 4


@cache  # all histograms share theirs
def refined(bounds: tuple[float, ...], fineness: int = FINENESS) -> tuple[float, ...]:
    """Put `fineness - 1` bounds, equal in ratio, before each of `bounds`."""
    fine: list[float] = []
    below = bounds[0] ** 2 / bounds[1]
    for bound in bounds:
        ratio = bound / below
        fine += [below * ratio ** (step / fineness) for step in range(1, fineness)]
        fine.append(bound)  # exactly, not as a product
        below = bound
    return tuple(fine)


FINE_SERVICE_BOUNDS_S: Final = refined(SERVICE_BOUNDS_S)


class Histogram:
    """Counts values by size. The hot path may inline `counts[bisect_left(fine, value)] += 1; sum_s += value`."""

    __slots__ = ("_bounds", "counts", "fine", "sum_s")

    def __init__(self, bounds: tuple[float, ...] = SERVICE_BOUNDS_S) -> None:
        self._bounds = bounds
        self.fine = refined(bounds)
        self.counts = [0] * (len(self.fine) + 1)
        self.sum_s = 0.0

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def add(self, value_s: float) -> None:
        """Count one value; a bucket holds what is at most its bound (Prometheus' `le`)."""
        self.counts[bisect_left(self.fine, value_s)] += 1
        self.sum_s += value_s

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield each published bound with the number of values up to it; the infinite one is `count`."""
        total = 0
        for number, bound in enumerate(self._bounds):
            total += sum(self.counts[number * FINENESS : (number + 1) * FINENESS])
            yield bound, total


def percentile(counts: Sequence[int], fine: Sequence[float], share: float) -> float | None:
    """Return the value that `share` of the counted values do not exceed, in seconds; None if nothing was counted.

    Interpolated within its bucket; what is above the last bound counts as that bound.
    """
    wanted = share * sum(counts)
    if not wanted:
        return None
    passed = 0
    for number, count in enumerate(counts):
        if count and passed + count >= wanted:
            if number == len(fine):
                break
            below = fine[number - 1] if number else 0.0
            return below + (fine[number] - below) * (wanted - passed) / count
        passed += count
    return fine[-1]
