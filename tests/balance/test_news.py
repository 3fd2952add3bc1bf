"""What is told about backends, and that it is told once."""

import pytest

from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.balance.silence import TOLD_LEAST_S

from .world import World, specs


def told(world: World) -> list[str]:
    return [item.text for item in world.fleet.news.take()]


@pytest.mark.parametrize(
    ("outcomes", "why"),
    [
        ([Outcome.CONNECT_FAILED], "it could not be connected to"),
        ([Outcome.BROKE], "it broke a connection, or its reply was no HTTP"),
        ([Outcome.HUNG_UP] * 5, "it closed connections in a row without a word"),
        ([Outcome.SERVER_ERROR, Outcome.SERVER_ERROR], "it answered requests in a row with errors"),
        ([Outcome.SILENT], "it did not answer in time"),
    ],
)
def test_ejection_is_told_with_its_reason_and_back_off(outcomes: list[Outcome], why: str) -> None:
    world = World(*specs(1, 1))
    world.fail("b1", *outcomes)
    back_off_s = world.backend("b1").health.retry_at - world.now
    (item,) = world.fleet.news.take()
    assert item.text == f"backend b1 is ejected for {back_off_s:.1f} s: {why}"
    assert item.is_bad


def test_return_is_told_and_the_failed_trials_before_it_are_not() -> None:
    world = World(*specs(1, 1))
    world.fail("b1", Outcome.CONNECT_FAILED)
    told(world)
    for outcome in (Outcome.CONNECT_FAILED, Outcome.CONNECT_FAILED, Outcome.SERVED):
        world.sleep_until_trial()
        assert told(world) == []
        world.fail("b1", outcome)
    (item,) = world.fleet.news.take()
    assert item.text == f"backend b1 is back after {world.now:.1f} s"
    assert not item.is_bad


def test_failed_health_checks_are_told_as_such() -> None:
    world = World(*specs(1, 1))
    world.fleet.checked(world.backend("b2"), False, world.now)
    (text,) = told(world)
    assert text.startswith("backend b2 is ejected for ")
    assert text.endswith(": its health checks failed")


def test_backend_that_may_hang_is_told_and_that_it_answers_again() -> None:
    world = World(*specs(1, 1, concurrency=1))
    world.serve(2, service_s=0.1)
    lease = world.lease()
    name = lease.backend.name
    for after_s in (0.0, 0.9 * TOLD_LEAST_S):
        world.now += after_s
        world.fleet.review(world.now)
        assert told(world) == [], "a large request among small ones is no news"
    for after_s in (0.2 * TOLD_LEAST_S, 1.0):
        world.now += after_s
        world.fleet.review(world.now)
    assert told(world) == [f"backend {name} seems to hang: 1 in flight, no reply"]
    world.settle(lease)
    for _ in range(2):
        world.fleet.review(world.now)
    assert told(world) == [f"backend {name} does not seem to hang any more"]


def test_even_the_last_one_is_told_when_it_hangs() -> None:
    world = World(*specs(1, concurrency=1))
    world.serve(2, service_s=0.1)
    world.lease()
    world.fleet.review(world.now)
    world.now += 1.1 * TOLD_LEAST_S
    world.fleet.review(world.now)
    assert told(world) == ["backend b1 seems to hang: 1 in flight, no reply"]


def test_good_traffic_is_no_news() -> None:
    world = World(*specs(1, 1))
    world.serve(10)
    world.fail("b1", Outcome.SERVER_ERROR, Outcome.CLIENT_ERROR, Outcome.CLIENT_LEFT)
    assert told(world) == []


def test_no_line_is_lost_when_a_large_fleet_goes_down_at_once() -> None:
    count = 300
    world = World(*specs(*[1] * count, concurrency=1))
    for lease in [world.lease() for _ in range(count)]:
        world.settle(lease, Outcome.CONNECT_FAILED)
    assert len(set(told(world))) == count
