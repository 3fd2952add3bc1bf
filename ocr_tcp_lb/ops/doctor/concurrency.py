"""How many requests at once a service really works on: the fewest that give (nearly) its best throughput.

2 at once are compared with 1, then 3 with 2, and so on, until more no longer helps. The times of an OCR service differ
by a factor of 6 from request to request, so one burst proves nothing. Rounds of the two are run in turn, until the
ratio of their speeds is clear. In a round all of them are under way at every moment until so many answers have come,
as many on either side: a service that works on k at once then needs the same time for any number from k on, however
its times differ. Workers that share one CPU or GPU show up the same way: more at once takes longer, and brings nothing.
"""

import math
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
SINGLES = 6  # one by one at the beginning, to know the spread of the times; the first may load a model
LEAST_ANSWERS = 4  # a round
LEAST_ROUNDS = 3  # of each side
SURE = 2.6  # standard errors: 0.5 % to be wrong on one side
LEAST_SPREAD = 0.03  # of one time, relative; a few equal ones in a row may be chance
GAIN, NO_GAIN = 0.25, 0.5  # of what more slots would bring: certainly more than that is one, certainly less is none
LONGEST_S = 120.0  # all rounds together


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back: when each good answer ended, in order, in seconds since the first request was sent."""

    ended_s: tuple[float, ...]
    failed: int = 0


Burst = Callable[[int, int], Awaitable[Answers]]  # burst(at_once, count): `count` in all, `at_once` under way


@dataclass(frozen=True, slots=True)
class Round:
    """So many at once; it took so long until `answers` of them had come. `failed` brought no good answer."""

    at_once: int
    answers: int
    took_s: float
    failed: int = 0

    @property
    def throughput(self) -> float:
        """Good answers a second."""
        return self.answers / self.took_s


@dataclass(frozen=True, slots=True)
class Measured:
    """It works on at least so many at once, and at most on so many; 0 at least: it gives no good answer at all."""

    at_least: int
    at_most: float  # infinite where nothing was seen to be too much
    refused_at: int = 0  # so many at once brought failures, which ended the measurement; 0: none did

    @property
    def is_clear(self) -> bool:
        """Whether it is one number."""
        return 0 < self.at_least == self.at_most


async def measure(
    burst: Burst, say: Callable[[Round], object], clock: Callable[[], float] = time.monotonic
) -> Measured:
    """Find how many at once the service works on; `say` is told each round."""
    judge = _Judge(burst, say, clock)
    if not await judge.see_singles():
        return Measured(0, 0, refused_at=1)
    best = STEPS[0]
    for more in STEPS[1:]:
        low, high, failed_at = await judge.compare(best, more)
        if failed_at:  # it refuses what is too much: a number of its own; or it fails now and then, which tells nothing
            return Measured(best, best if failed_at == more else math.inf, failed_at)
        if _is_gain(low, best, more):
            best = more
        elif _is_none(high, best, more):
            break
        else:
            return Measured(best, more if high < more / best else math.inf)
    return Measured(best, best)


class _Judge:
    """Runs rounds and says how sure one can be of what they show."""

    def __init__(self, burst: Burst, say: Callable[[Round], object], clock: Callable[[], float]) -> None:
        self._burst = burst
        self._say = say
        self._clock = clock
        self._ends_at = clock() + LONGEST_S
        self._singles: list[float] = []  # service times: what one took that was alone

    async def see_singles(self) -> bool:
        """Whether the service answers well, one request after the other."""
        for number in range(SINGLES):
            one = await self._round(1, 1)
            if one.failed:
                return False
            if number == 0:
                self._singles.clear()
            if self._is_late():
                break
        return True

    async def compare(self, few: int, more: int) -> tuple[float, float, int]:
        """Return the bounds of the ratio of their throughputs, and how many at once brought failures, 0 for none."""
        answers = _answers(few, more)
        times: dict[int, list[float]] = {few: [], more: []}
        low, high = 0.0, math.inf
        while not self._is_late():
            for at_once, took in times.items():
                one = await self._round(at_once, answers)
                if one.failed:
                    return low, high, at_once
                took.append(one.took_s)
            if len(times[few]) >= LEAST_ROUNDS:
                low, high = self._bounds(times[few], times[more], answers)
                if _is_gain(low, few, more) or _is_none(high, few, more):
                    break
        return low, high, 0

    async def _round(self, at_once: int, answers: int) -> Round:
        """Time so many answers; more are sent than are timed, so that all places are taken until the last of these."""
        came = await self._burst(at_once, answers + at_once - 1)
        took_s = max(came.ended_s[answers - 1], 1e-6) if len(came.ended_s) >= answers else math.inf
        one = Round(at_once, answers, took_s, came.failed)
        if at_once == 1 and not one.failed:
            self._singles += [end - begin for begin, end in zip((0.0, *came.ended_s), came.ended_s, strict=False)]
        self._say(one)
        return one

    def _bounds(self, few: list[float], more: list[float], answers: int) -> tuple[float, float]:
        ratio = sum(few) / sum(more)
        error = SURE * math.sqrt(self._variance(few, answers) + self._variance(more, answers))
        return ratio * math.exp(-error), ratio * math.exp(error)

    def _variance(self, times: list[float], answers: int) -> float:
        """Of the mean time, relative: as the single ones let expect, or as the rounds differ if that is more."""
        expected = self._spread() ** 2 / (answers * len(times))
        seen = statistics.variance(times) / statistics.fmean(times) ** 2 / len(times)
        return max(expected, seen)

    def _spread(self) -> float:
        if len(self._singles) < 2:
            return 1.0
        return max(LEAST_SPREAD, statistics.stdev(self._singles) / statistics.fmean(self._singles))

    def _is_late(self) -> bool:
        return self._clock() >= self._ends_at


def _is_gain(low: float, few: int, more: int) -> bool:
    return low > 1 + GAIN * (more / few - 1)


def _is_none(high: float, few: int, more: int) -> bool:
    return high < 1 + NO_GAIN * (more / few - 1)


def _answers(few: int, more: int) -> int:
    """How many answers a round times: whole waves on both sides.

    Where numbers between the two are left out, three waves of the fewer and two of what is nearer to the more.
    """
    if more - few > 1:
        return few + more
    answers = math.lcm(few, more)
    return answers * math.ceil(LEAST_ANSWERS / answers)
