"""How much silence is unusual, and when a second backend may be asked for the same request."""

import math

import pytest

from balance.world import World, specs
from ocr_tcp_lb.balance import Lease, Outcome
from ocr_tcp_lb.balance.hedge import LEAST_S, REMEMBERED, TIMES_LONGEST, Patience


def test_nobody_is_impatient_before_the_first_reply() -> None:
    assert Patience().limit_s == math.inf


def test_limit_is_three_times_the_longest_and_never_less_than_a_second() -> None:
    patience = Patience()
    patience.note(0.01)
    assert patience.limit_s == LEAST_S
    patience.note(2.0)
    patience.note(0.5)
    assert patience.limit_s == TIMES_LONGEST * 2.0


def test_one_slow_start_is_forgotten_after_200_replies_and_not_after_100() -> None:
    patience = Patience()
    patience.note(30.0)
    for _ in range(REMEMBERED):
        patience.note(1.0)
    assert patience.limit_s == TIMES_LONGEST * 30.0
    for _ in range(REMEMBERED):
        patience.note(1.0)
    assert patience.limit_s == TIMES_LONGEST * 1.0


def hedged(world: World, lease: Lease) -> str | None:
    second = world.fleet.hedge(lease, world.now)
    return None if second is None else second.backend.name


def test_second_lease_is_one_of_the_same_ticket_on_another_backend() -> None:
    world = World(*specs(1, 1, concurrency=1))
    lease = world.lease()
    second = world.fleet.hedge(lease, world.now)
    assert second is not None
    assert second.backend is not lease.backend
    assert second.ticket is lease.ticket
    assert (lease.ticket.attempts, world.fleet.hedges) == (2, 1)
    assert [backend.in_flight for backend in world.fleet.backends] == [1, 1]
    world.settle(second)
    world.settle(lease, Outcome.CLIENT_LEFT)
    assert [backend.in_flight for backend in world.fleet.backends] == [0, 0]


def test_nobody_is_asked_who_is_busy_draining_or_ejected() -> None:
    world = World(*specs(1, 1, concurrency=1))
    lease, other = world.lease(), world.lease()
    assert hedged(world, lease) is None
    world.settle(other)
    world.fleet.drain(other.backend, world.now)
    assert hedged(world, lease) is None
    world.fleet.undrain(other.backend, world.now)
    world.settle(world.lease(), Outcome.CONNECT_FAILED)
    assert hedged(world, lease) is None
    assert world.fleet.hedges == 0


def test_no_slot_is_taken_that_somebody_waits_for() -> None:
    world = World(*specs(1, 1, 1, concurrency=1))
    first, second, _ = world.lease(), world.lease(), world.lease()
    waiting = world.wait()
    assert [lease.ticket for lease in world.settle(second)] == [waiting]
    world.wait()
    assert hedged(world, first) is None


def test_no_backend_is_probed_with_it() -> None:
    world = World(*specs(1, 1))  # `auto`: one at a time is sure, more is to be found out
    world.serve(2, service_s=0.1)
    leases = [world.lease(), world.lease()]
    busy = leases[1].backend
    assert busy.in_flight < busy.limit
    assert hedged(world, leases[0]) is None


@pytest.mark.parametrize("outcome", [Outcome.BROKE, Outcome.SERVER_ERROR])
def test_request_that_has_failed_is_hedged_only_where_that_is_no_poison(outcome: Outcome) -> None:
    world = World(*specs(1, 1, 1, concurrency=1))
    lease = world.lease()
    world.settle(lease, outcome)
    again = world.lease(lease.ticket)
    third = hedged(world, again)
    if outcome is Outcome.BROKE:
        assert third is None
    else:
        assert third not in (None, lease.backend.name, again.backend.name)


def test_hedges_are_retries_of_the_budget() -> None:
    world = World(*specs(1, 1, concurrency=1))
    count = 0
    while True:
        lease = world.lease()
        second = world.fleet.hedge(lease, world.now)
        world.settle(lease)
        if second is None:
            break
        world.settle(second)
        count += 1
    assert 100 <= count <= 200, "the floor, and a fifth of what was granted"
