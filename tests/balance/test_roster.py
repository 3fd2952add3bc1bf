import math
import random

import pytest

from ocr_tcp_lb.balance.backend import Backend, BackendSpec
from ocr_tcp_lb.balance.lease import Lease, Ticket
from ocr_tcp_lb.balance.roster import Roster, roster_for

both_kinds = pytest.mark.parametrize("policy", ["queue", "round-robin"])


def backends(*weights: float) -> list[Backend]:
    return [Backend(BackendSpec(f"b{i}", weight, 1), i) for i, weight in enumerate(weights)]


def roster_of(policy: str, members: list[Backend]) -> Roster:
    roster = roster_for(policy, members, random.Random(1))
    for backend in members:
        roster.refresh(backend)
    return roster


def fill(roster: Roster, backend: Backend) -> None:
    backend.take(Lease(backend, Ticket(0.0), 0.0, 0), 1)
    roster.refresh(backend)


def choose(roster: Roster) -> Backend | None:
    return roster.choose(1, 0.0, 0.0)


@both_kinds
def test_a_full_backend_is_not_chosen_until_it_has_a_slot(policy: str) -> None:
    members = backends(1, 1, 1)
    roster = roster_of(policy, members)
    for _ in members:
        chosen = choose(roster)
        assert chosen is not None
        fill(roster, chosen)
    assert choose(roster) is None
    members[1].in_flight = 0
    roster.refresh(members[1])
    assert choose(roster) is members[1]


@both_kinds
def test_reserves_are_chosen_only_when_no_other_is_open(policy: str) -> None:
    worker, reserve = both = backends(1, 0)
    roster = roster_of(policy, both)
    assert choose(roster) is worker
    fill(roster, worker)
    assert choose(roster) is reserve


@both_kinds
def test_tried_backends_can_be_left_out(policy: str) -> None:
    first, second, reserve = all_three = backends(1, 1, 0)
    roster = roster_of(policy, all_three)
    assert roster.choose_except({first}, 0.0) is second
    assert roster.choose_except({first, second}, 0.0) is reserve
    assert roster.choose_except(set(all_three), 0.0) is None


@pytest.mark.parametrize("seed", range(100))
def test_who_may_use_only_some_backends_is_given_the_same_one_as_who_may_use_all(seed: int) -> None:
    """`policy.FastestFree` says in one line what `ranking.Ranking` keeps in heaps."""
    rng = random.Random(seed)
    members = [
        Backend(BackendSpec(f"b{i}", rng.choice([0.5, 1.0, 2.0]), rng.choice([1, 2, 4, "auto"])), i, learns=True)
        for i in range(rng.randrange(1, 9))
    ]
    for number, backend in enumerate(members):
        for _ in range(rng.randrange(40)):
            backend.service.learn(rng.choice([0.1, 0.4, 1.5]) * rng.uniform(0.8, 1.2), 0.0)
        while backend.is_eligible and rng.random() < 0.6:
            backend.take(Lease(backend, Ticket(0.0), 0.0, 0), rng.randrange(100) * 10 + number)
        backend.is_draining = rng.random() < 0.1
        backend.is_silent = rng.random() < 0.1
    roster = roster_of("queue", members)
    assert roster.choose_except(set(), 0.0) is roster.choose(1, math.inf, 0.0)
    assert roster.has_open(0.0) is any(backend.is_eligible for backend in members)


@both_kinds
def test_a_roster_knows_whether_anybody_is_open(policy: str) -> None:
    worker, reserve = both = backends(1, 0)
    roster = roster_of(policy, both)
    for backend in both:
        assert roster.has_open(0.0)
        fill(roster, backend)
    assert not roster.has_open(0.0)
    reserve.in_flight = 0
    roster.refresh(reserve)
    assert roster.has_open(0.0)
    assert worker.in_flight
