import math

import pytest

from ocr_tcp_lb.balance import Outcome, QueueFull, Ticket

from .world import World, specs, teach


def busy_world() -> World:
    world = World(*specs(1, 1, concurrency=1), queue_size=10)
    for name in ("b1", "b2"):
        teach(world, name, 2.0)
    world.lease()
    world.lease()
    return world


def test_the_wait_is_the_place_in_the_queue_over_the_rate_of_all_slots() -> None:
    world = busy_world()
    assert world.fleet.expected_wait_s(world.ticket(), world.now) == pytest.approx(1.0)
    for _ in range(4):
        world.wait()
    assert world.fleet.expected_wait_s(world.ticket(), world.now) == pytest.approx(5.0)


def test_a_free_slot_means_no_wait() -> None:
    world = World(*specs(1, concurrency=1))
    assert world.fleet.expected_wait_s(world.ticket(), world.now) == 0


def test_an_urgent_request_waits_for_the_urgent_only() -> None:
    world = busy_world()
    for _ in range(4):
        world.wait()
    urgent = Ticket(world.now, priority=0)
    assert world.fleet.expected_wait_s(urgent, world.now) == pytest.approx(1.0)


def test_when_all_are_down_the_wait_is_for_the_next_trial() -> None:
    world = World(*specs(1, concurrency=1))
    world.fail("b1", Outcome.CONNECT_FAILED)
    due_s = world.fleet.next_event_at - world.now
    assert world.fleet.expected_wait_s(world.ticket(), world.now) == pytest.approx(due_s)


def test_with_everything_drained_there_is_no_end_to_the_wait() -> None:
    world = World(*specs(1, concurrency=1))
    world.fleet.drain(world.backend("b1"), world.now)
    assert world.fleet.expected_wait_s(world.ticket(), world.now) == math.inf


def test_a_deadline_that_cannot_be_met_is_known_at_once() -> None:
    world = busy_world()
    assert world.fleet.can_meet(world.ticket(), deadline=world.now + 3.1, now=world.now)
    assert not world.fleet.can_meet(world.ticket(), deadline=world.now + 2.9, now=world.now)


def test_asking_for_a_forecast_takes_no_place() -> None:
    world = busy_world()
    for _ in range(10):
        world.fleet.expected_wait_s(world.ticket(), world.now)
        world.wait()
    with pytest.raises(QueueFull):
        world.fleet.ask(world.ticket(), world.now)


@pytest.mark.parametrize(("count", "idle_s"), [(1, 0.0), (1, 3600.0), (40, 86400.0)])
def test_a_free_backend_whose_speed_is_not_known_gets_a_request_that_measures_it(count: int, idle_s: float) -> None:
    """Or one slow answer would refuse everybody for ever: those who are refused teach nothing."""
    world = World(*specs(1, concurrency=1))
    world.serve(count, service_s=30.0)
    world.now += idle_s
    assert world.fleet.can_meet(world.ticket(), deadline=world.now + 5, now=world.now)


def test_a_free_backend_whose_speed_is_known_is_taken_at_its_word() -> None:
    world = World(*specs(1, 0, concurrency=1))
    world.serve(40, service_s=30.0)
    assert not world.fleet.can_meet(world.ticket(), deadline=world.now + 5, now=world.now), "not for the reserve"
    assert world.fleet.can_meet(world.ticket(), deadline=world.now + 31, now=world.now)


def test_a_retry_is_ahead_of_all_newcomers() -> None:
    world = World(*specs(1, 1, concurrency=1))
    for name in ("b1", "b2"):
        teach(world, name, 2.0)
    failed, _ = world.lease(), world.lease()
    for _ in range(50):
        world.wait()
    (grant,) = world.settle(failed, Outcome.SERVER_ERROR)
    assert grant.backend is failed.backend
    assert world.fleet.expected_wait_s(failed.ticket, world.now) == pytest.approx(1.0)
    assert world.fleet.can_meet(failed.ticket, deadline=world.now + 4, now=world.now)
