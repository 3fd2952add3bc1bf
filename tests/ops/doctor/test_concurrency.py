"""Measuring how many at once a service works on, against simulated ones."""

import math
import random
from collections import Counter
from collections.abc import Callable

import pytest

from ocr_tcp_lb.ops.doctor.concurrency import LONGEST_S, Answers, Measured, Round, measure

Draw = Callable[[], float]
SPREADS: dict[str, Callable[[random.Random], Draw]] = {
    "constant": lambda rng: lambda: 0.175,
    "uniform": lambda rng: lambda: rng.uniform(0.05, 0.3),  # a factor of 6
    "lognormal": lambda rng: lambda: rng.lognormvariate(-1.9, 0.5),
}
spreads = pytest.mark.parametrize("spread", SPREADS)


class Simulated:
    """A service and its clock: so many `slots`, and `speed(n)` is how fast n that are at work get on together.

    `draw` says how long one takes that is alone. Above `most` at once, it refuses the rest.
    """

    def __init__(
        self, slots: float, draw: Draw, speed: Callable[[int], float] = lambda n: n, most: float = math.inf
    ) -> None:
        self.now = 0.0
        self.most_at_once = 0
        self._slots, self._draw, self._speed, self._most = slots, draw, speed, most

    async def burst(self, at_once: int, count: int) -> Answers:
        self.most_at_once = max(self.most_at_once, at_once)
        began, ended_s, at_work = self.now, list[float](), list[float]()
        refused = max(0, at_once - int(self._most)) if self._most != math.inf else 0
        waiting = min(at_once, count) - refused
        left = count - waiting - refused
        while waiting or at_work:
            while waiting and len(at_work) < self._slots:
                at_work.append(self._draw())
                waiting -= 1
            least = min(at_work)
            self.now += least * len(at_work) / self._speed(len(at_work))
            at_work = [one - least for one in at_work]
            at_work.remove(0.0)
            ended_s.append(self.now - began)
            left, waiting = (left - 1, waiting + 1) if left else (left, waiting)
        return Answers(tuple(ended_s), refused)

    async def measured(self) -> Measured:
        return await measure(self.burst, lambda one: None, lambda: self.now)


async def verdicts(
    slots: int, spread: str, runs: int, speed: Callable[[int], float] = lambda n: n
) -> Counter[int | str]:
    """How often each number was found; "unclear" is one of them."""
    counted: Counter[int | str] = Counter()
    for seed in range(runs):
        service = Simulated(slots, SPREADS[spread](random.Random(seed)), speed)
        measured = await service.measured()
        counted[measured.at_least if measured.is_clear else "unclear"] += 1
        assert measured.is_clear or measured.at_least <= slots <= measured.at_most
        assert service.now < LONGEST_S + 15
    return counted


@spreads
async def test_serial_service_is_never_believed_to_do_more(spread: str) -> None:
    counted = await verdicts(1, spread, 200)
    assert counted[1] + counted["unclear"] >= 195
    assert counted[1] >= 180


@spreads
@pytest.mark.parametrize("slots", [2, 3, 4, 8])
async def test_slots_are_counted_however_the_times_differ(slots: int, spread: str) -> None:
    counted = await verdicts(slots, spread, 40)
    assert counted[slots] + counted["unclear"] >= 39
    assert counted[slots] >= 32


@spreads
async def test_workers_that_share_one_processor_are_one(spread: str) -> None:
    assert (await verdicts(2, spread, 40, lambda n: 1.0))[1] >= 39


@spreads
async def test_four_workers_that_share_two_processors_are_two(spread: str) -> None:
    assert (await verdicts(4, spread, 40, lambda n: min(n, 2.0)))[2] >= 39


@pytest.mark.parametrize("number", [1, 2, 3, 4, 6, 8, 12, 16, 24, 32])
async def test_equal_times_show_every_step_exactly(number: int) -> None:
    assert (await Simulated(number, lambda: 0.175).measured()) == Measured(number, number)


@pytest.mark.parametrize(("slots", "taken_for"), [(5, 6), (7, 8), (9, 8), (10, 12), (14, 16), (20, 24)])
async def test_number_between_two_steps_is_taken_for_the_nearer_one(slots: int, taken_for: int) -> None:
    """For the upper one of two as near: one too many costs 2 %, one too few costs throughput."""
    assert (await Simulated(slots, lambda: 0.175).measured()) == Measured(taken_for, taken_for)


async def test_batching_that_pays_is_used() -> None:
    service = Simulated(math.inf, lambda: 0.175, lambda n: n if n <= 4 else 4 + 0.1 * (n - 4))
    assert (await service.measured()).at_least in (3, 4, 6)


async def test_single_worker_is_not_loaded_with_more_than_two() -> None:
    service = Simulated(1, lambda: 0.175)
    await service.measured()
    assert service.most_at_once == 2


async def test_refusals_end_it_with_what_was_good() -> None:
    assert await Simulated(8, lambda: 0.175, most=4).measured() == Measured(4, 4, refused_at=6)


async def test_service_that_only_refuses_gives_nothing() -> None:
    assert await Simulated(1, lambda: 0.175, most=0).measured() == Measured(0, 0, refused_at=1)


async def test_failure_of_what_was_good_before_leaves_it_unclear() -> None:
    service = Simulated(4, lambda: 0.175)
    twos = 0

    async def burst(at_once: int, count: int) -> Answers:
        nonlocal twos
        twos += at_once == 2
        return Answers((), 1) if twos == 5 else await service.burst(at_once, count)

    assert await measure(burst, lambda one: None, lambda: service.now) == Measured(2, math.inf, refused_at=2)


async def test_slow_service_is_not_measured_for_ever() -> None:
    service = Simulated(4, lambda: 50.0)
    assert await service.measured() == Measured(1, math.inf)
    assert service.now <= 250


async def test_first_answer_that_loads_a_model_does_not_count() -> None:
    first = [30.0]
    service = Simulated(2, lambda: first.pop() if first else 0.5)
    assert await service.measured() == Measured(2, 2)


def test_number_is_clear_only_if_it_is_one() -> None:
    assert Measured(2, 2).is_clear
    assert not Measured(2, 3).is_clear
    assert not Measured(2, math.inf).is_clear
    assert not Measured(0, 0).is_clear


def test_throughput_is_of_the_answers_that_were_timed() -> None:
    assert Round(4, 12, 2.0).throughput == 6.0
