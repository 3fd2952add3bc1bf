"""Small workers in simulated time teach the limit; they answer as a worker of that kind would."""

import random

import pytest

from ocr_tcp_lb.balance.backend import Backend, BackendSpec
from ocr_tcp_lb.balance.fleet import Fleet
from ocr_tcp_lb.balance.learned import FEW_WAITING, Learned
from ocr_tcp_lb.balance.lease import Lease, Ticket
from ocr_tcp_lb.balance.sharing import MOST

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
                lease = Lease(BACKEND, Ticket(self.now), self.now, 0)
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
    leases = [Lease(BACKEND, Ticket(0.0), 0.0, 0) for _ in range(2)]
    for number, lease in enumerate(leases, 1):
        limit.on_grant(lease, number)
    limit.on_answer(leases[1], 1.0, 1.0, 0)
    assert limit.sure == 2


def test_an_elder_that_was_answered_but_is_still_being_read_was_not_overtaken() -> None:
    limit = Learned()
    leases = [Lease(BACKEND, Ticket(0.0), 0.0, 0) for _ in range(2)]
    for number, lease in enumerate(leases, 1):
        limit.on_grant(lease, number)
    leases[0].answered_at = 0.5
    limit.on_answer(leases[1], 1.0, 1.0, 0)
    assert limit.sure == 1


def test_a_failure_teaches_nothing() -> None:
    limit = Learned()
    for _ in range(50):
        leases = [Lease(BACKEND, Ticket(0.0), 0.0, 0) for _ in range(2)]
        for number, lease in enumerate(leases, 1):
            limit.on_grant(lease, number)
        for lease in reversed(leases):
            assert not limit.on_answer(lease, None, 0.0, 0)
    assert limit.sure == 1


def test_a_large_request_counts_by_what_is_usual_for_its_size() -> None:
    limit = Learned()
    for factor in [1.0, 10.0] * 20:
        lease = Lease(BACKEND, Ticket(0.0), 0.0, 0)
        limit.on_grant(lease, 1)
        limit.on_answer(lease, 0.3 * factor, 0.3 * factor, 0, factor)
    assert limit._mean_s == pytest.approx(0.3)


def sharing() -> Learned:
    """One that showed sharing."""
    limit = Learned()
    for _ in range(40):
        limit._by_level.learn(1, 1.0)
        limit._by_level.learn(2, 2.0)
    return limit


def probed(waiting: int) -> Learned:
    """The same, when its second request has just overtaken the first."""
    limit = sharing()
    leases = [Lease(BACKEND, Ticket(0.0), 0.0, 0) for _ in range(2)]
    for number, lease in enumerate(leases, 1):
        limit.on_grant(lease, number)
    limit.on_answer(leases[1], 2.0, 2.0, waiting)
    return limit


def test_overtaking_ends_the_probe_of_one_that_shares() -> None:
    limit = probed(FEW_WAITING)
    assert (limit.sure, limit.limit) == (1, 1)


def test_evidence_of_a_second_slot_ends_the_probe_of_one_that_shares() -> None:
    limit = sharing()
    for _ in range(8):
        leases = [Lease(BACKEND, Ticket(0.0), 0.0, 0) for _ in range(2)]
        for number, lease in enumerate(leases, 1):
            limit.on_grant(lease, number)
        for lease, service_s in zip(leases, (1.0, 1.05), strict=True):
            limit.on_answer(lease, service_s, service_s, 0)
    assert (limit.sure, limit.limit) == (1, 1)


def test_while_many_wait_overtaking_is_believed_of_any() -> None:
    assert probed(FEW_WAITING + 1).sure == 2


@pytest.mark.parametrize("seed", range(5))
def test_threads_that_share_two_cpus_are_not_taken_for_a_single_one_for_long(seed: int) -> None:
    worker = Saturated(2, is_shared=True, seed=seed)
    assert sum(worker.run(1).sure < 2 for _ in range(1500)) < 30


def test_the_backends_of_a_fleet_are_kin() -> None:
    fleet = Fleet([BackendSpec("b1"), BackendSpec("b2", concurrency=2)], "queue", 10, random.Random(1))
    fleet.adopt(fleet.backends[1], BackendSpec("b2"), 0.0)
    fleet.add(BackendSpec("b3"), 0.0)
    learners = [backend.learner for backend in fleet.backends]
    assert len({learner._by_level._kin for learner in learners if isinstance(learner, Learned)}) == 1
    assert all(isinstance(learner, Learned) for learner in learners)


def test_a_backend_that_does_more_at_once_than_can_be_learned_gets_the_most() -> None:
    worker = Saturated(2 * MOST)
    worker.limit._raise(MOST - 3)
    limit = worker.run(3000)
    assert MOST - 3 <= limit.sure <= limit.limit <= MOST


def test_nothing_raises_the_limit_above_the_most() -> None:
    limit = Learned()
    limit._raise(MOST + 1)
    limit._deny()
    for _ in range(2000):
        limit._rest_from_probing(0)
    assert (limit.sure, limit.limit) == (MOST, MOST)
