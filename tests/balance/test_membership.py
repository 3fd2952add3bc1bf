"""The fleet changes while it works: backends join, leave, get other weights and limits."""

import pytest

from balance.world import World, specs, teach
from ocr_tcp_lb.balance import POLICIES, BackendSpec, Outcome, Ticket

EVERY_POLICY = pytest.mark.parametrize("policy", POLICIES)


@EVERY_POLICY
def test_a_new_backend_serves_who_waits(policy: str) -> None:
    world = World(*specs(1, concurrency=1), policy=policy)
    world.lease()
    waiting = world.wait()
    granted = world.fleet.add(BackendSpec("new", concurrency=1), world.now)
    assert [(lease.ticket, lease.backend.name) for lease in granted] == [(waiting, "new")]


@EVERY_POLICY
def test_a_removed_backend_gets_nothing_and_finishes_what_it_has(policy: str) -> None:
    world = World(*specs(1, 1, concurrency=2), policy=policy)
    leases = [world.lease() for _ in range(4)]
    gone = world.backend("b1")
    world.fleet.remove(gone, world.now)
    assert [backend.name for backend in world.fleet.backends] == ["b2"]
    waiting = world.wait()
    for lease in leases:
        if lease.backend is gone:
            assert not world.settle(lease, Outcome.BROKE), "its slots serve nobody else"
    assert gone.in_flight == 0
    theirs = next(lease for lease in leases if lease.backend is not gone)
    assert [lease.ticket for lease in world.settle(theirs)] == [waiting]


@EVERY_POLICY
def test_a_retry_that_waits_for_a_backend_is_let_go_when_that_one_is_removed(policy: str) -> None:
    world = World(*specs(1, 1, concurrency=1), policy=policy)
    lease, other = world.lease(), world.lease()
    world.settle(lease, Outcome.SERVER_ERROR)
    ticket = world.wait(lease.ticket)
    granted = world.fleet.remove(other.backend, world.now)
    assert [(one.ticket, one.backend) for one in granted] == [(ticket, lease.backend)]


@EVERY_POLICY
def test_speed_health_and_counts_outlast_a_change_of_weight(policy: str) -> None:
    world = World(*specs(1, 1, concurrency=1), policy=policy)
    teach(world, "b1", 0.5)
    world.fail("b2", Outcome.CONNECT_FAILED)
    for name in ("b1", "b2"):
        world.fleet.adopt(world.backend(name), BackendSpec(name, 3.0, 1), world.now)
    assert world.backend("b1").service.mean_s == pytest.approx(0.5)
    assert not world.backend("b2").health.takes_requests
    assert {backend.weight for backend in world.fleet.backends} == {3.0}


def test_weights_change_the_shares_at_once() -> None:
    world = World(*specs(1, 1), policy="round-robin")
    world.serve(5)
    world.fleet.adopt(world.backend("b1"), BackendSpec("b1", 3.0), world.now)
    assert world.serve(40).count("b1") == 30


def test_a_backend_becomes_a_reserve_and_back() -> None:
    world = World(*specs(1, 1, concurrency=1))
    world.fleet.adopt(world.backend("b1"), BackendSpec("b1", 0, 1), world.now)
    assert set(world.serve(4)) == {"b2"}
    world.fleet.adopt(world.backend("b1"), BackendSpec("b1", 1, 1), world.now)
    assert "b1" in world.serve(4)


@pytest.mark.parametrize("before", [1, "auto"])
@pytest.mark.parametrize("after", [3, "auto"])
def test_a_limit_changes_under_load(before: int, after: int) -> None:
    world = World(*[BackendSpec(spec.name, 1, before) for spec in specs(1, 1)])
    leases = [world.lease(), world.lease()]
    for backend in world.fleet.backends:
        world.fleet.adopt(backend, BackendSpec(backend.name, 1, after), world.now)
    while after == 3 and len(leases) < 6:
        leases.append(world.lease())
    for lease in leases:
        world.settle(lease, after_s=0.1)
    assert [backend.in_flight for backend in world.fleet.backends] == [0, 0]
    world.serve(10, 0.1)


def test_a_back_off_outlasts_other_changes() -> None:
    world = World(*specs(1, 1))
    world.fail("b1", Outcome.CONNECT_FAILED)
    due = world.fleet.next_event_at
    world.fleet.add(BackendSpec("b3"), world.now)
    world.fleet.remove(world.backend("b2"), world.now)
    assert world.fleet.next_event_at == due
    world.fleet.remove(world.backend("b1"), world.now)
    assert world.fleet.next_event_at > due


def test_bounds_change_and_who_waits_stays() -> None:
    world = World(*specs(1, concurrency=1), queue_size=3)
    world.lease()
    for _ in range(3):
        world.wait()
    world.fleet.set_queue(1, "fifo", retries=0, timeout_s=60.0)
    assert world.fleet.waiting == 3
    ticket = Ticket(world.now, failures=1)
    assert not world.fleet.may_retry(ticket, world.now)


def test_a_hundred_changes_leave_nothing_behind() -> None:
    world = World(*specs(1, 1, concurrency=2))
    for round_number in range(100):
        lease = world.lease()
        world.fleet.add(BackendSpec(f"n{round_number}", concurrency=2), world.now)
        world.fleet.remove(world.fleet.backends[0], world.now)
        world.settle(lease, after_s=0.01)
        world.fleet.review(world.now)
    assert len(world.fleet.backends) == 2
    assert len({backend.number for backend in world.fleet.backends}) == 2
