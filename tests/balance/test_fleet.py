import math
import time
from collections import Counter

import pytest

from ocr_tcp_lb.balance import (
    POLICIES,
    BackendSnapshot,
    BackendSpec,
    FleetSnapshot,
    Lease,
    Outcome,
    QueueFull,
    Ticket,
)
from ocr_tcp_lb.balance.health import BACKOFF_FIRST_S, BACKOFF_JITTER, State
from ocr_tcp_lb.balance.order import AGEING_MOST
from ocr_tcp_lb.balance.queue import PRIORITY_STEP_S
from ocr_tcp_lb.balance.service_time import MEMORY_S

from .world import World, specs, teach

every_policy = pytest.mark.parametrize("policy", POLICIES)
FAULTS_THAT_SPARE_THE_LAST = [Outcome.SERVER_ERROR, Outcome.BROKE, Outcome.SILENT]


@every_policy
def test_waiting_tickets_are_served_in_the_order_they_came(policy: str) -> None:
    world = World(*specs(1, 1, concurrency=1), policy=policy)
    running = [world.lease(), world.lease()]
    tickets = [world.wait() for _ in range(6)]
    served = []
    while running:
        grants = world.settle(running.pop(0))
        served += [grant.ticket for grant in grants]
        running += grants
    assert served == tickets


def test_a_newcomer_does_not_overtake() -> None:
    world = World(*specs(1, concurrency=1))
    lease = world.lease()
    first = world.wait()
    (grant,) = world.settle(lease)
    newcomer = world.wait()
    assert grant.ticket is first
    assert [g.ticket for g in world.settle(grant)] == [newcomer]


def test_a_full_queue_refuses() -> None:
    world = World(*specs(1, concurrency=1), queue_size=1)
    world.lease()
    world.wait()
    with pytest.raises(QueueFull):
        world.fleet.ask(world.ticket(), world.now)
    assert world.fleet.waiting == 1


def test_no_queue_still_serves_while_slots_are_free() -> None:
    world = World(*specs(1, concurrency=1), queue_size=0)
    world.lease()
    with pytest.raises(QueueFull):
        world.fleet.ask(world.ticket(), world.now)


def test_a_ticket_that_left_is_not_served() -> None:
    world = World(*specs(1, concurrency=1))
    lease = world.lease()
    leaver, stayer = world.wait(), world.wait()
    world.fleet.leave(leaver)
    assert [grant.ticket for grant in world.settle(lease)] == [stayer]
    assert world.fleet.waiting == 0


def test_a_lease_is_settled_once() -> None:
    world = World(*specs(1))
    lease = world.lease()
    world.settle(lease)
    with pytest.raises(AssertionError):
        world.settle(lease)
    assert world.backend("b1").in_flight == 0


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_frees_the_slot(outcome: Outcome) -> None:
    world = World(*specs(1, 1, concurrency=1))
    lease = world.lease()
    world.settle(lease, outcome)
    assert lease.backend.in_flight == 0


def test_a_retry_goes_to_a_backend_that_it_has_not_tried() -> None:
    world = World(*specs(1, 1, 1))
    ticket = world.ticket()
    names = set()
    for _ in range(3):
        lease = world.lease(ticket)
        names.add(lease.backend.name)
        world.settle(lease, Outcome.SERVER_ERROR)
    assert names == {"b1", "b2", "b3"}


def test_a_retry_waits_for_a_busy_backend_rather_than_return_to_a_tried_one() -> None:
    world = World(*specs(1, 1, concurrency=1))
    lease, other = world.lease(), world.lease()
    world.settle(lease, Outcome.SERVER_ERROR)
    ticket = world.wait(lease.ticket)
    assert world.backend(lease.backend.name).is_eligible
    assert [(g.ticket, g.backend) for g in world.settle(other)] == [(ticket, other.backend)]


def test_a_newcomer_may_pass_a_retry_that_cannot_use_the_slot() -> None:
    world = World(*specs(1, 1, concurrency=1))
    lease, _ = world.lease(), world.lease()
    world.settle(lease, Outcome.SERVER_ERROR)
    world.wait(lease.ticket)
    assert world.lease().backend is lease.backend


def test_a_retry_waits_ahead_of_newcomers_even_when_the_queue_is_full() -> None:
    world = World(*specs(1, 1, concurrency=1), queue_size=2)
    lease, other = world.lease(), world.lease()
    newcomers = [world.wait(), world.wait()]
    (first,) = world.settle(lease, Outcome.SERVER_ERROR)
    assert first.ticket is newcomers[0]
    world.wait(world.ticket())
    world.wait(lease.ticket)
    assert [grant.ticket for grant in world.settle(other)] == [lease.ticket]


def test_retries_are_served_in_the_order_they_failed() -> None:
    world = World(*specs(1, 1, concurrency=2))
    leases = [world.lease() for _ in range(4)]
    mine = [lease for lease in leases if lease.backend.name == "b1"]
    others = [lease for lease in leases if lease.backend.name == "b2"]
    for lease in mine:
        world.settle(lease, Outcome.CONNECT_FAILED)
        world.wait(lease.ticket)
    served = [grant.ticket for lease in others for grant in world.settle(lease)]
    assert served == [lease.ticket for lease in mine]


def test_a_retry_returns_to_a_tried_backend_when_no_other_is_in_service() -> None:
    world = World(*specs(1, 1))
    ticket = world.ticket()
    lease = world.lease(ticket)
    world.settle(lease, Outcome.SERVER_ERROR)
    other = "b2" if lease.backend.name == "b1" else "b1"
    world.fail(other, Outcome.CONNECT_FAILED)
    assert world.lease(ticket).backend is lease.backend


def test_a_retry_returns_to_one_that_has_come_back_while_the_others_are_full() -> None:
    world = World(*specs(1, 1, concurrency=1))
    lease, _ = world.lease(), world.lease()
    world.settle(lease, Outcome.CONNECT_FAILED)  # it restarts, and the other works on a long page
    ticket = world.wait(lease.ticket)
    assert [(g.ticket, g.backend) for g in world.sleep_until_trial()] == [(ticket, lease.backend)], "it is the trial"


def test_retries_that_wait_for_others_cost_next_to_nothing_when_half_of_a_large_fleet_dies() -> None:
    count = 800
    world = World(*specs(*[1] * count, concurrency=1), queue_size=count)
    leases = [world.lease() for _ in range(count)]
    began_s = time.process_time()
    for lease in leases[: count // 2]:
        world.settle(lease, Outcome.CONNECT_FAILED)
        world.wait(lease.ticket)
    assert world.fleet.waiting == count // 2
    assert time.process_time() - began_s < 2.0, "each settle looked at each backend for each that waits"


def test_a_tunnel_gives_its_slot_back_where_slots_are_learned() -> None:
    world = World(*specs(1))
    (backend,) = world.fleet.backends
    for _ in range(50):
        lease = world.lease()
        assert world.fleet.let_go(lease, world.now) == ()
        assert lease.is_settled
    assert (backend.in_flight, backend.replying, backend.tunnels) == (0, 0, 50)
    world.fleet.end_tunnel(lease)
    assert backend.tunnels == 49


def test_a_tunnel_keeps_its_slot_where_a_limit_was_told() -> None:
    world = World(*specs(1, concurrency=1))
    lease = world.lease()
    assert world.fleet.let_go(lease, world.now) == ()
    assert not lease.is_settled
    world.wait()


def test_a_break_after_the_proof_still_counts() -> None:
    world = World(*specs(1, 1))
    world.fail("b1", Outcome.CONNECT_FAILED)
    world.now += 1.0
    world.fleet.tick(world.now)
    lease = next(one for one in (world.lease(), world.lease()) if one.backend.name == "b1")
    world.fleet.prove(lease, world.now)
    assert lease.backend.health.state is State.UP
    world.settle(lease, Outcome.BROKE)
    assert lease.backend.health.state is State.EJECTED


def stay(world: World) -> str:
    """A request becomes a tunnel that takes no slot; return where it stays."""
    ticket = world.ticket()
    ticket.upgrades = True
    lease = world.lease(ticket)
    world.fleet.let_go(lease, world.now)
    return lease.backend.name


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((1, 1, 1), {"b1": 4, "b2": 4, "b3": 4}),
        ((1, 2, 1), {"b1": 3, "b2": 6, "b3": 3}),
        ((1, 0, 1), {"b1": 6, "b3": 6}),
    ],
    ids=["equal", "weighted", "reserve"],
)
def test_tunnels_are_shared_though_one_backend_is_faster(weights: tuple[float, ...], expected: dict[str, int]) -> None:
    world = World(*specs(*weights))
    for name, service_s in (("b1", 0.03), ("b2", 0.2), ("b3", 0.2)):
        teach(world, name, service_s)
    assert Counter(stay(world) for _ in range(12)) == expected


def test_a_tunnel_goes_where_a_slot_is_free() -> None:
    world = World(*specs(1, 1))
    names = [stay(world), stay(world)]
    ticket = world.lease()
    other = next(name for name in names if name != ticket.backend.name)
    assert [stay(world) for _ in range(3)] == [other] * 3


def test_a_tunnel_does_not_pass_who_waits() -> None:
    world = World(*specs(1, 1, concurrency=1))
    leases = [world.lease(), world.lease()]
    ticket, late = world.wait(), world.ticket()
    late.upgrades = True
    world.wait(late)
    assert [grant.ticket for lease in leases for grant in world.settle(lease)] == [ticket, late]


def test_a_tunnel_has_the_reserve_when_nobody_else_is_there() -> None:
    world = World(*specs(1, 0, 0))
    world.fleet.drain(world.backend("b1"), world.now)
    assert {stay(world) for _ in range(2)} == {"b2", "b3"}


def test_a_waiting_retry_is_let_go_when_its_last_untried_backend_falls() -> None:
    world = World(*specs(1, 1, concurrency=1))
    lease, other = world.lease(), world.lease()
    world.settle(lease, Outcome.SERVER_ERROR)
    world.wait(lease.ticket)
    grants = world.settle(other, Outcome.CONNECT_FAILED)
    assert [(g.ticket, g.backend) for g in grants] == [(lease.ticket, lease.backend)]


def test_a_stale_connection_is_nobodys_fault() -> None:
    world = World(*specs(1))
    ticket = world.ticket()
    world.settle(world.lease(ticket), Outcome.STALE)
    assert world.lease(ticket).backend.name == "b1"
    assert not ticket.tried
    assert world.fleet.may_retry(ticket, world.now)


def test_retries_are_bounded_but_refused_connections_are_free() -> None:
    world = World(*specs(1, 1, 1, 1))
    ticket = world.ticket()
    may_retry = []
    for outcome in (Outcome.CONNECT_FAILED, *[Outcome.SERVER_ERROR] * 3):
        world.settle(world.lease(ticket), outcome)
        may_retry.append(world.fleet.may_retry(ticket, world.now))
    assert may_retry == [True, True, True, False]


@pytest.mark.parametrize("outcome", [Outcome.CONNECT_FAILED, Outcome.BROKE, Outcome.SILENT])
def test_one_serious_failure_ejects(outcome: Outcome) -> None:
    world = World(*specs(1, 1))
    world.fail("b1", outcome)
    assert world.backend("b1").health.state is State.EJECTED
    assert set(world.serve(5)) == {"b2"}


def test_two_errors_in_a_row_eject() -> None:
    world = World(*specs(1, 1))
    world.fail("b1", Outcome.SERVER_ERROR)
    assert world.backend("b1").health.state is State.UP
    world.fail("b1", Outcome.SERVER_ERROR)
    assert world.backend("b1").health.state is State.EJECTED


@pytest.mark.parametrize("outcome", [Outcome.SERVED, Outcome.CLIENT_ERROR, Outcome.CLIENT_LEFT, Outcome.STALE])
def test_what_is_no_fault_never_ejects(outcome: Outcome) -> None:
    world = World(*specs(1, 1))
    world.fail("b1", *[outcome] * 10)
    assert world.backend("b1").health.state is State.UP


@pytest.mark.parametrize("outcome", FAULTS_THAT_SPARE_THE_LAST)
def test_the_last_one_up_is_spared_while_it_answers_at_all(outcome: Outcome) -> None:
    world = World(*specs(1, 1))
    world.fail("b2", Outcome.CONNECT_FAILED)
    world.fail("b1", *[outcome] * 5)
    assert world.backend("b1").health.state is State.UP


@pytest.mark.parametrize("outcome", FAULTS_THAT_SPARE_THE_LAST)
def test_a_trial_is_spared_too_when_nobody_else_is_up(outcome: Outcome) -> None:
    world = World(*specs(1))
    world.fail("b1", Outcome.CONNECT_FAILED)
    world.sleep_until_trial()
    world.settle(world.lease(), outcome)
    assert world.backend("b1").health.state is State.TRIAL
    assert world.lease().backend.name == "b1"


def test_a_backend_that_drains_is_no_other_to_rely_on() -> None:
    world = World(*specs(1, 1))
    world.fleet.drain(world.backend("b2"), world.now)
    world.settle(world.lease(), Outcome.BROKE)
    assert world.backend("b1").health.state is State.UP


def test_refused_connections_take_down_the_last_one_and_the_queue_waits() -> None:
    world = World(*specs(1, 1))
    world.fail("b1", Outcome.CONNECT_FAILED)
    world.fail("b2", Outcome.CONNECT_FAILED)
    ticket = world.wait()
    (trial,) = world.sleep_until_trial()
    assert trial.ticket is ticket


def test_a_fleet_that_was_down_loses_nobody_in_the_queue() -> None:
    world = World(*specs(1, 1, concurrency=2))
    world.fail("b1", Outcome.CONNECT_FAILED)
    world.fail("b2", Outcome.CONNECT_FAILED)
    tickets = {world.wait() for _ in range(10)}
    running, served = list(world.sleep_until_trial()), set()
    while world.now < 20:  # everything is refused for 20 s
        for lease in running:
            grants = world.settle(lease, Outcome.CONNECT_FAILED)
            assert not grants
            assert world.fleet.may_retry(lease.ticket, world.now)
            world.wait(lease.ticket)
        running = list(world.sleep_until_trial())
    while running:
        lease = running.pop()
        running += world.settle(lease)
        served.add(lease.ticket)
    assert served == tickets


def test_a_trial_lets_one_request_through_and_its_reply_lets_all() -> None:
    world = World(*specs(1, concurrency=3))
    world.fail("b1", Outcome.CONNECT_FAILED)
    tickets = [world.wait() for _ in range(4)]
    (trial,) = world.sleep_until_trial()
    assert trial.ticket is tickets[0]
    assert [grant.ticket for grant in world.settle(trial)] == tickets[1:]


def test_a_trial_that_says_nothing_is_followed_by_another() -> None:
    world = World(*specs(1, concurrency=3))
    world.fail("b1", Outcome.CONNECT_FAILED)
    second = [world.wait(), world.wait()][1]
    (trial,) = world.sleep_until_trial()
    assert [grant.ticket for grant in world.settle(trial, Outcome.CLIENT_LEFT)] == [second]


def test_a_failed_trial_waits_longer_than_the_first_time() -> None:
    world = World(*specs(1))
    world.fail("b1", Outcome.CONNECT_FAILED)
    world.sleep_until_trial()
    began = world.now
    world.fail("b1", Outcome.CONNECT_FAILED)
    assert world.fleet.next_event_at - began > BACKOFF_FIRST_S * (1 + BACKOFF_JITTER)


def test_requests_that_die_together_are_one_failure() -> None:
    world = World(*specs(1, 1, concurrency=8))
    leases = [world.lease() for _ in range(16)]
    dead = [lease for lease in leases if lease.backend.name == "b1"]
    for lease in dead:
        world.settle(lease, Outcome.BROKE)
    assert world.fleet.next_event_at <= world.now + BACKOFF_FIRST_S * (1 + BACKOFF_JITTER)


def test_a_late_death_is_no_news_about_the_successor() -> None:
    world = World(*specs(1, 1, concurrency=8))
    leases = [lease for lease in (world.lease() for _ in range(4)) if lease.backend.name == "b1"]
    world.settle(leases[0], Outcome.BROKE)
    world.sleep_until_trial()
    world.fail("b1", Outcome.SERVED)
    world.settle(leases[1], Outcome.BROKE)
    assert world.backend("b1").health.state is State.UP


def test_nothing_is_due_while_all_are_up() -> None:
    world = World(*specs(1, 1))
    assert world.fleet.next_event_at == math.inf
    assert not world.fleet.tick(1e9)


def test_an_early_tick_does_nothing() -> None:
    world = World(*specs(1))
    world.fail("b1", Outcome.CONNECT_FAILED)
    assert not world.fleet.tick(world.now)
    assert world.backend("b1").health.state is State.EJECTED


def test_each_back_off_is_due_in_its_turn() -> None:
    world = World(*specs(1, 1, 1))
    world.fail("b1", Outcome.CONNECT_FAILED)
    world.now = 0.2
    world.fail("b2", Outcome.CONNECT_FAILED)
    world.sleep_until_trial()
    assert world.backend("b1").health.state is State.TRIAL
    assert world.fleet.next_event_at == world.backend("b2").health.retry_at
    world.sleep_until_trial()
    assert world.fleet.next_event_at == math.inf


def test_a_drained_backend_finishes_what_it_has_and_can_be_restored() -> None:
    world = World(*specs(1, concurrency=1))
    lease = world.lease()
    world.fleet.drain(lease.backend, world.now)
    ticket = world.wait()
    assert not world.settle(lease)
    assert [grant.ticket for grant in world.fleet.undrain(lease.backend, world.now)] == [ticket]


def test_a_snapshot_is_plain_data() -> None:
    world = World(BackendSpec("b1", 2.0, 4), BackendSpec("b2", 0.0), policy="p2c", queue_size=9)
    world.settle(world.lease(), after_s=0.25)
    world.lease()
    assert world.fleet.snapshot() == FleetSnapshot(
        policy="p2c",
        waiting=0,
        queue_size=9,
        backends=(
            BackendSnapshot("b1", "up", False, 2.0, 1, 4, 1, 0, 250.0, 4, "told"),
            BackendSnapshot("b2", "up", False, 0.0, 0, math.inf, 0, 0, 0.0, math.inf, "unlimited"),
        ),
    )


def test_urgent_requests_go_first_until_the_others_have_aged() -> None:
    world = World(*specs(1, concurrency=1))
    lease = world.lease()
    usual = world.wait()
    urgent = world.wait(Ticket(world.now, priority=0))
    (first,) = world.settle(lease)
    assert first.ticket is urgent
    world.now = PRIORITY_STEP_S * 6
    later = world.wait(Ticket(world.now, priority=0))
    (second,) = world.settle(first)
    (third,) = world.settle(second)
    assert [second.ticket, third.ticket] == [usual, later]


def test_keys_share_the_one_queue() -> None:
    world = World(*specs(1, concurrency=1), queue_size=10_000)
    lease = world.lease()
    for _ in range(5000):
        world.wait(Ticket(world.now, key="batch"))
    single = world.wait(Ticket(world.now, key="single"))
    served = []
    for _ in range(2):
        (lease,) = world.settle(lease)
        served.append(lease.ticket)
    assert single in served


def test_a_full_queue_makes_room_for_who_has_fewer_and_tells_whom_it_displaced() -> None:
    world = World(*specs(1, concurrency=1), queue_size=2)
    world.lease()
    first, second = (world.wait(Ticket(world.now, key="batch")) for _ in range(2))
    assert world.fleet.take_displaced() == ()
    single = world.wait(Ticket(world.now, key="single"))
    assert list(world.fleet.take_displaced()) == [second]
    assert world.fleet.take_displaced() == ()
    with pytest.raises(QueueFull):
        world.fleet.ask(Ticket(world.now, key="batch"), world.now)
    assert world.fleet.waiting == 2
    for ticket in (first, single):
        world.fleet.leave(ticket)


@pytest.mark.parametrize("queue_size", [0, 3])
def test_nobody_is_refused_beside_a_free_backend_however_slow(queue_size: int) -> None:
    world = World(*specs(1, 1, concurrency=1), queue_size=queue_size)
    teach(world, "b1", 0.1)
    teach(world, "b2", 5.0)
    assert world.lease().backend.name == "b1"
    for _ in range(queue_size):
        world.wait()
    assert world.lease().backend.name == "b2"
    with pytest.raises(QueueFull):
        world.lease()


def sized_world() -> tuple[World, Lease]:
    world = World(*specs(1, concurrency=1), order="size")
    for _ in range(50):
        for size_bytes, service_s in ((10_000, 0.1), (1_000_000, 2.0)):
            lease = world.lease(Ticket(world.now, size_bytes))
            world.settle(lease, after_s=service_s)
    return world, world.lease()


def test_a_short_request_goes_first_where_size_tells_service_time() -> None:
    world, lease = sized_world()
    large, small = (world.wait(Ticket(world.now, size)) for size in (1_000_000, 10_000))
    assert [grant.ticket for grant in world.settle(lease)] == [small]
    assert world.fleet.waiting == 1
    world.fleet.leave(large)


def test_a_large_request_is_overtaken_by_nobody_who_comes_later_than_its_head_start() -> None:
    world, lease = sized_world()
    large = world.wait(Ticket(world.now, 1_000_000))
    world.now += AGEING_MOST * 2.5  # a little more than its service time
    world.wait(Ticket(world.now, 10_000))
    assert [grant.ticket for grant in world.settle(lease)] == [large]


def test_a_large_request_goes_first_just_before_it_would_be_late() -> None:
    world, lease = sized_world()
    large = world.wait(Ticket(world.now, 1_000_000))
    for _ in range(40):  # one after the other: each comes before the large one is out of reach
        small = world.wait(Ticket(world.now, 10_000))
        (lease,) = world.settle(lease, after_s=0.1)
        if lease.ticket is large:
            break
        assert lease.ticket is small
    waited_s = world.now - large.arrived_at
    assert lease.ticket is large
    assert waited_s < AGEING_MOST * 2.0, "it did not have to wait until it was the oldest by rank"
    world.fleet.leave(small)


def test_large_requests_ahead_make_the_forecast_longer() -> None:
    world, _ = sized_world()
    forecasts_s = []
    for size_bytes in (10_000, 1_000_000):
        waiting = [world.wait(Ticket(world.now, size_bytes)) for _ in range(5)]
        forecasts_s.append(world.fleet.expected_wait_s(world.ticket(), world.now))
        for ticket in waiting:
            world.fleet.leave(ticket)
    small_s, large_s = forecasts_s
    assert large_s == pytest.approx(5 * 2.0 + 1.0, rel=0.2)
    assert small_s == pytest.approx(5 * 0.1 + 1.0, rel=0.3)


def test_one_stuck_request_does_not_eject_a_backend_that_answers_others() -> None:
    world = World(*specs(1, 1, concurrency=2))
    leases = [world.lease() for _ in range(4)]
    stuck, other = [lease for lease in leases if lease.backend.name == "b1"]
    world.settle(other, after_s=1.0)
    world.settle(stuck, Outcome.SILENT, after_s=10.0)
    assert world.backend("b1").health.state is State.UP


def test_a_held_request_is_let_go_when_the_fast_backend_does_not_keep_its_promise() -> None:
    world = World(*specs(1, 1, concurrency=1))
    teach(world, "b1", 0.1)
    teach(world, "b2", 5.0)
    assert world.lease().backend.name == "b1"
    ticket = world.wait()
    world.now = world.fleet.next_event_at
    assert world.now == pytest.approx(5.0)
    assert [(g.ticket, g.backend.name) for g in world.fleet.tick(world.now)] == [(ticket, "b2")]


def test_a_request_that_was_running_on_two_backends_when_they_broke_is_poison() -> None:
    world = World(*specs(1, 1, 1))
    ticket = world.ticket()
    world.settle(world.lease(ticket), Outcome.BROKE)
    assert world.fleet.may_retry(ticket, world.now)
    lease = world.lease(ticket)
    assert not world.fleet.could_retry(lease, world.now)
    world.settle(lease, Outcome.BROKE)
    assert not world.fleet.may_retry(ticket, world.now)


def test_a_retry_is_possible_only_while_another_backend_is_in_service() -> None:
    world = World(*specs(1, 1))
    lease = world.lease()
    assert world.fleet.could_retry(lease, world.now)
    world.fleet.drain(next(b for b in world.fleet.backends if b is not lease.backend), world.now)
    assert not world.fleet.could_retry(lease, world.now)


def test_a_good_check_brings_the_trial_forward_and_serves_who_waits() -> None:
    world = World(*specs(1, concurrency=1))
    ticket = world.ticket()
    world.settle(world.lease(ticket), Outcome.CONNECT_FAILED)
    world.wait(ticket)
    granted = world.fleet.checked(world.backend("b1"), True, world.now)
    assert [lease.ticket for lease in granted] == [ticket]


def test_a_failed_check_ejects_even_the_last_one_and_the_queue_holds() -> None:
    world = World(*specs(1))
    assert world.fleet.checked(world.backend("b1"), False, world.now, hold_s=3.0) == ()
    world.wait()
    assert world.fleet.next_event_at == 3.0
    assert len(world.sleep_until_trial()) == 1


def test_sizes_are_learned_from_a_sample_of_very_fast_answers() -> None:
    world = World(*specs(1))
    for _ in range(100):
        lease = world.lease(Ticket(world.now, 1000))
        world.settle(lease, after_s=0.0001)
    assert 5 <= world.fleet._sizes._count <= 12


def test_a_trial_that_goes_on_for_long_is_passed_when_the_backend_has_proved_well() -> None:
    """As a tunnel does, and a connection in L4 mode."""
    world = World(*specs(1, concurrency=2))
    world.settle(world.lease(), Outcome.CONNECT_FAILED)
    waiting = [world.wait(), world.wait()]
    (trial,) = world.sleep_until_trial()
    assert trial.ticket is waiting[0]
    granted = world.fleet.prove(trial, world.now)
    assert [lease.ticket for lease in granted] == [waiting[1]]
    assert trial.backend.health.state is State.UP
    world.settle(trial, Outcome.BROKE)
    assert trial.backend.health.state is State.UP, "the end of it speaks for another era"


def test_an_attempt_that_goes_on_well_forgives_errors_as_a_good_reply_does() -> None:
    world = World(*specs(1, 1), policy="least-outstanding")
    for _ in range(3):
        world.fail("b1", *[Outcome.HUNG_UP] * 4)
        world.fleet.drain(world.backend("b2"), world.now)
        lease = world.lease()
        world.fleet.undrain(world.backend("b2"), world.now)
        world.fleet.prove(lease, world.now)
    assert world.backend("b1").health.state is State.UP


def test_a_late_proof_says_nothing_about_a_backend_that_has_failed_since() -> None:
    world = World(*specs(1, 1, concurrency=2))
    lease = world.lease()
    world.fail(lease.backend.name, Outcome.CONNECT_FAILED)
    assert world.fleet.prove(lease, world.now) == ()
    assert lease.backend.health.state is State.EJECTED


@pytest.mark.parametrize("last", ["refuses", "drains", "is removed"])
def test_when_the_last_one_goes_those_that_erred_are_tried_soon(last: str) -> None:
    """Whatever their back-offs: nobody is served meanwhile, so a trial costs nobody anything."""
    world = World(*specs(1, 1, 1, concurrency=1))
    for name in ("b2", "b3"):
        world.fail(name, Outcome.SERVER_ERROR, Outcome.SERVER_ERROR)
    assert world.fleet.next_event_at > world.now + 5
    b1 = world.backend("b1")
    match last:
        case "refuses":
            world.settle(world.lease(), Outcome.CONNECT_FAILED)
        case "drains":
            world.fleet.drain(b1, world.now)
        case _:
            world.fleet.remove(b1, world.now)
    waiting = world.wait()
    granted = world.sleep_until_trial()
    assert world.now < 1.0
    assert [lease.ticket for lease in granted] == [waiting]
    assert granted[0].backend.name in ("b2", "b3") or last == "refuses"


def test_when_the_last_one_hangs_those_that_erred_are_tried_soon() -> None:
    world = World(*specs(1, 1, concurrency=1))
    for name in ("b1", "b2"):
        teach(world, name, 0.1)
    world.fail("b2", Outcome.SERVER_ERROR, Outcome.SERVER_ERROR)
    stuck = world.lease()
    waiting = world.wait()
    world.fleet.review(world.now)
    world.now += 2.1
    world.fleet.review(world.now)
    assert not stuck.backend.is_silent, "one that may hang is better than none"
    granted = world.sleep_until_trial()
    assert world.now < 3.0
    assert [(lease.ticket, lease.backend.name) for lease in granted] == [(waiting, "b2")]
    world.settle(granted[0])
    world.fleet.review(world.now)
    assert stuck.backend.is_silent


def test_a_backend_whose_first_answer_loaded_the_model_is_not_lost_behind_faster_ones() -> None:
    world = World(*specs(1, 1, concurrency=1))
    teach(world, "b1", 0.1)
    loading = world.lease()
    assert loading.backend.name == "b2"
    world.settle(loading, after_s=60.0)
    teach(world, "b1", 0.1)
    assert set(world.serve(20, service_s=0.1)) == {"b1"}, "the other one passes for slow"
    served = set()
    for _ in range(10):
        world.now += MEMORY_S / 8
        served |= set(world.serve(1, service_s=0.1))
    assert "b2" in served
