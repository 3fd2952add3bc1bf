"""How many requests at once a service really works on: the fewest that give (nearly) its best throughput.

Rounds of 1, 2, 3, 4, 6, 8, ... requests at once are timed. A service that works on N at a time takes as long for N as
for one, and twice as long for 2N: throughput grows up to N and no further. Workers that share one CPU or GPU show up
the same way: more at once takes longer, and brings nothing.
"""

import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
REPEATS_OF_ONE = 3  # the first may load a model
NEARLY = 0.88  # of the best throughput: noise is a few per cent, one slot of eight is 12
PATIENCE = 2  # rounds without a gain, then it is enough
GAIN = 1.08
LONGEST_S = 120.0  # all rounds together


@dataclass(frozen=True, slots=True)
class Round:
    """So many at once took so long; `failed` of them brought no good answer."""

    at_once: int
    took_s: float
    failed: int = 0

    @property
    def throughput(self) -> float:
        """Good answers a second."""
        return (self.at_once - self.failed) / self.took_s


Burst = Callable[[int], Awaitable[int]]  # sends so many at once, returns how many failed


async def measure(burst: Burst, say: Callable[[Round], object], clock: Callable[[], float] = time.monotonic) -> int:
    """Return how many at once the service works on; `say` is told each round. 0: it gives no good answer at all."""
    began = clock()
    rounds: list[Round] = []
    best, stale = 0.0, 0
    for at_once in STEPS:
        one = await _round(burst, at_once, clock)
        say(one)
        if one.failed:
            break  # it refuses what is too much: a number of its own
        rounds.append(one)
        stale = 0 if one.throughput > best * GAIN else stale + 1
        best = max(best, one.throughput)
        if stale >= PATIENCE or clock() - began > LONGEST_S:
            break
    return verdict(rounds)


async def _round(burst: Burst, at_once: int, clock: Callable[[], float]) -> Round:
    times, failed = [], 0
    for _ in range(REPEATS_OF_ONE if at_once == 1 else 1):
        began = clock()
        failed = await burst(at_once)
        times.append(max(clock() - began, 1e-6))
        if failed:
            break
    return Round(at_once, statistics.median_low(times), failed)


def verdict(rounds: list[Round]) -> int:
    """Return the fewest at once that give nearly the best throughput; 0 for no rounds."""
    if not rounds:
        return 0
    best = max(one.throughput for one in rounds)
    return next(one.at_once for one in rounds if one.throughput >= NEARLY * best)
