"""Measuring how many at once a service works on, against simulated ones."""

import math
from collections.abc import Callable

import pytest

from ocr_tcp_lb.ops.doctor.concurrency import Round, measure


class Simulated:
    """A service and its clock: `took(n)` is how long n requests at once take, in seconds; above `most` it refuses."""

    def __init__(self, took: Callable[[int], float], most: float = math.inf) -> None:
        self._took = took
        self._most = most
        self.now = 0.0
        self.bursts: list[int] = []

    async def burst(self, at_once: int) -> int:
        self.bursts.append(at_once)
        self.now += self._took(at_once)
        return max(0, at_once - int(self._most)) if self._most != math.inf else 0

    async def measured(self) -> int:
        return await measure(self.burst, lambda one: None, lambda: self.now)


def slots(number: int) -> Callable[[int], float]:
    return lambda at_once: math.ceil(at_once / number)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 6, 8, 12, 16])
async def test_slots_that_work_side_by_side_are_counted(number: int) -> None:
    assert await Simulated(slots(number)).measured() == number


async def test_five_slots_are_taken_for_no_fewer_than_four() -> None:
    assert await Simulated(slots(5)).measured() in (4, 5, 6)


async def test_workers_that_share_one_processor_are_one() -> None:
    assert await Simulated(lambda n: 0.02 + 1.0 * n).measured() == 1


async def test_batching_that_pays_is_used() -> None:
    assert await Simulated(lambda n: 1.0 + 0.05 * max(0, n - 4) * 4).measured() in (3, 4, 6)


async def test_single_worker_is_not_loaded_for_long() -> None:
    service = Simulated(slots(1))
    await service.measured()
    assert max(service.bursts) <= 3


async def test_refusals_end_it_with_what_was_good() -> None:
    assert await Simulated(slots(8), most=4).measured() == 4


async def test_service_that_only_refuses_gives_nothing() -> None:
    assert await Simulated(slots(1), most=0).measured() == 0


async def test_slow_service_is_not_measured_for_ever() -> None:
    service = Simulated(lambda n: 50.0)
    await service.measured()
    assert service.now <= 250


async def test_first_answer_that_loads_a_model_does_not_count() -> None:
    service = Simulated(slots(2))
    original, first = service._took, [30.0]
    service._took = lambda n: first.pop() if first else original(n)
    assert await service.measured() == 2


def test_throughput_is_of_good_answers() -> None:
    assert Round(4, 2.0, failed=2).throughput == 1.0
