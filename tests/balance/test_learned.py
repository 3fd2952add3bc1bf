"""Small workers in simulated time teach the limit; they answer as a worker of that kind would."""

import random

import pytest

from ocr_tcp_lb.balance.backend import Backend, BackendSpec
from ocr_tcp_lb.balance.learned import SHARING_SLOPE, ByLevel, Learned
from ocr_tcp_lb.balance.lease import Lease, Ticket

BACKEND = Backend(BackendSpec("b1"))


class Saturated:
    """A backend that always has as many requests in flight as the limit allows."""

    def __init__(self, slots: int, is_shared: bool = False, seed: int = 1, spread: float = 0.5) -> None:
        self.limit = Learned()
        self.slots = slots
        self.is_shared = is_shared
        self.rng = random.Random(seed)
        self.spread = spread
        self.now = 0.0
        self.left: dict[Lease, float] = {}

    def run(self, answers: int) -> Learned:
        for _ in range(answers):
            while len(self.left) < self.limit.limit:
                lease = Lease(BACKEND, Ticket(None, self.now), self.now, 0)
                self.left[lease] = self.rng.uniform(1 - self.spread, 1 + self.spread)
                self.limit.on_grant(lease, len(self.left))
            self._answer_the_next()
        return self.limit

    def _answer_the_next(self) -> None:
        running = list(self.left) if self.is_shared else list(self.left)[: self.slots]
        speed = min(1.0, self.slots / len(running))
        done = min(running, key=lambda lease: self.left[lease])
        passed_s = self.left[done] / speed
        self.now += passed_s
        for lease in running:
            self.left[lease] -= passed_s * speed
        del self.left[done]
        self.limit.on_answer(done, self.now - done.granted_at, self.now, 5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("slots", [2, 3, 4, 8])
def test_parallel_slots_are_found_and_not_many_more(slots: int, seed: int) -> None:
    assert 0.6 * slots <= Saturated(slots, seed=seed).run(600).sure <= 1.5 * slots + 2


@pytest.mark.parametrize("seed", range(5))
def test_a_single_thread_is_not_flooded(seed: int) -> None:
    worker = Saturated(1, seed=seed)
    most = max(worker.run(1).limit for _ in range(400))
    assert most <= 4
    assert worker.limit.sure == 1


@pytest.mark.parametrize("seed", range(5))
def test_threads_that_share_a_cpu_do_not_pass_for_parallel_ones(seed: int) -> None:
    assert Saturated(1, is_shared=True, seed=seed).run(600).sure <= 5


def test_slots_are_found_though_nobody_overtakes() -> None:
    assert Saturated(4, spread=0.02).run(600).sure >= 4


def test_overtaking_proves_parallelism_at_once() -> None:
    limit = Learned()
    leases = [Lease(BACKEND, Ticket(None, 0.0), 0.0, 0) for _ in range(2)]
    for number, lease in enumerate(leases, 1):
        limit.on_grant(lease, number)
    limit.on_answer(leases[1], 1.0, 1.0, 0)
    assert limit.sure == 2


def test_an_elder_that_was_answered_but_is_still_being_read_was_not_overtaken() -> None:
    limit = Learned()
    leases = [Lease(BACKEND, Ticket(None, 0.0), 0.0, 0) for _ in range(2)]
    for number, lease in enumerate(leases, 1):
        limit.on_grant(lease, number)
    leases[0].answered_at = 0.5
    limit.on_answer(leases[1], 1.0, 1.0, 0)
    assert limit.sure == 1


def test_a_failure_teaches_nothing() -> None:
    limit = Learned()
    for _ in range(50):
        leases = [Lease(BACKEND, Ticket(None, 0.0), 0.0, 0) for _ in range(2)]
        for number, lease in enumerate(leases, 1):
            limit.on_grant(lease, number)
        for lease in reversed(leases):
            assert not limit.on_answer(lease, None, 0.0, 0)
    assert limit.sure == 1


@pytest.mark.parametrize(("exponent", "is_sharing"), [(0.0, False), (1.0, True)])
def test_response_time_by_level_tells_sharing(exponent: float, is_sharing: bool) -> None:
    by_level = ByLevel()
    rng = random.Random(3)
    for _ in range(40):
        for level in (1, 2, 3):
            by_level.learn(level, level**exponent * rng.uniform(0.5, 1.5))
    assert (by_level.slope > SHARING_SLOPE) is is_sharing


def test_a_large_request_counts_by_what_is_usual_for_its_size() -> None:
    limit = Learned()
    for factor in [1.0, 10.0] * 20:
        lease = Lease(BACKEND, Ticket(None, 0.0), 0.0, 0)
        limit.on_grant(lease, 1)
        limit.on_answer(lease, 0.3 * factor, 0.3 * factor, 0, factor)
    assert limit._mean_s == pytest.approx(0.3)
