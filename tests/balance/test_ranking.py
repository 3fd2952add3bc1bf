import random

import pytest

from ocr_tcp_lb.balance.backend import Backend, BackendSpec
from ocr_tcp_lb.balance.lease import Lease, Ticket
from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.balance.policy import FastestFree
from ocr_tcp_lb.balance.ranking import BETA, Ranking, bucket_of


def backend(number: int, service_s: float, concurrency: int = 1, weight: float = 1.0) -> Backend:
    one = Backend(BackendSpec(f"b{number}", weight, concurrency), number)
    for _ in range(30):
        one.service.learn(service_s, 0.0)
    return one


def learner(number: int) -> Backend:
    """A backend whose limit is learned, and which has answered once."""
    one = Backend(BackendSpec(f"b{number}"), number, learns=True)
    lease = Lease(one, Ticket(0.0), 0.0, 0)
    one.take(lease, 1)
    one.release(lease, 1.0, Outcome.SERVED, 1.0)
    return one


def ranking_of(*backends: Backend) -> Ranking:
    ranking = Ranking()
    for one in backends:
        ranking.refresh(one, 0.0)
    return ranking


def fill(ranking: Ranking, one: Backend) -> None:
    while one.is_eligible:
        one.take(Lease(one, Ticket(0.0), 0.0, 0), 1)
    ranking.refresh(one, 0.0)


def test_the_fastest_is_first_whatever_the_order() -> None:
    slow, fast, middle = backend(0, 0.9), backend(1, 0.1), backend(2, 0.3)
    ranking = ranking_of(slow, fast, middle)
    chosen = []
    for _ in range(3):
        one = ranking.choose(99, 0.0)
        assert one is not None
        chosen.append(one)
        fill(ranking, one)
    assert chosen == [fast, middle, slow]


def test_a_slow_one_is_not_used_while_a_much_faster_one_will_soon_be_free() -> None:
    fast, slow = backend(0, 0.1), backend(1, 10.0)
    ranking = ranking_of(fast, slow)
    fill(ranking, fast)
    assert ranking.choose(1, 0.0) is None


def test_a_slow_one_is_used_when_many_wait() -> None:
    fast, slow = backend(0, 0.1), backend(1, 10.0)
    ranking = ranking_of(fast, slow)
    fill(ranking, fast)
    assert ranking.choose(round(10.0 / 0.1 / BETA) + 1, 0.0) is slow


def test_nobody_is_held_for_longer_than_the_slow_one_would_have_taken() -> None:
    fast, slow = backend(0, 0.1), backend(1, 10.0)
    ranking = ranking_of(fast, slow)
    fill(ranking, fast)
    assert ranking.hold_s() == pytest.approx(10.0)
    assert ranking.choose(1, ranking.hold_s()) is slow


def test_a_backend_that_answers_in_no_time_can_be_full() -> None:
    instant, slow = backend(0, 5e-324), backend(1, 10.0)
    ranking = ranking_of(instant, slow)
    fill(ranking, instant)
    assert ranking.choose(1, 0.0) is None


def test_a_slow_one_alone_is_used() -> None:
    slow = backend(0, 10.0)
    assert ranking_of(slow).choose(1, 0.0) is slow


def test_a_backend_whose_speed_is_unknown_is_not_held_back() -> None:
    fast = backend(0, 0.1)
    unknown = Backend(BackendSpec("b1", 1.0, 1), 1)
    ranking = ranking_of(fast, unknown)
    fill(ranking, fast)
    assert ranking.choose(1, 0.0) is unknown


def test_a_probe_comes_after_every_believed_slot() -> None:
    probed, told = learner(0), Backend(BackendSpec("b1", 1.0, 1), 1)
    ranking = ranking_of(probed, told)
    probed.take(Lease(probed, Ticket(0.0), 0.0, 0), 1)
    ranking.refresh(probed, 0.0)
    assert ranking.choose(1, 0.0) is told
    fill(ranking, told)
    assert ranking.choose(1, 0.0) is probed


def test_a_second_probe_at_the_same_backend_needs_a_long_queue() -> None:
    probed = learner(0)
    ranking = ranking_of(probed)
    for _ in range(2):
        probed.take(Lease(probed, Ticket(0.0), 0.0, 0), 1)
    ranking.refresh(probed, 0.0)
    assert ranking.choose(1, 0.0) is None
    assert ranking.choose(50, 1.0, may_pile=True) is probed


def test_speeds_within_a_tenth_are_equal_and_a_half_is_not() -> None:
    assert bucket_of(0.105) - bucket_of(0.1) <= 1
    assert bucket_of(0.15) > bucket_of(0.1)
    assert bucket_of(0.0) == 0


def test_a_silent_backend_is_passed_over() -> None:
    silent, other = backend(0, 0.1), backend(1, 0.2)
    ranking = ranking_of(silent, other)
    silent.is_silent = True
    ranking.refresh(silent, 0.0)
    assert ranking.choose(1, 0.0) is other


def test_an_estimate_that_expired_counts_as_none() -> None:
    fast, forgotten = backend(0, 0.1), backend(1, 10.0)
    ranking = ranking_of(fast, forgotten)
    fast.service.learn(0.1, 1000.0)
    for one in (fast, forgotten):
        ranking.refresh(one, 1000.0)
    assert ranking.choose(1, 0.0) is forgotten


def test_entries_of_the_past_do_not_pile_up() -> None:
    one = backend(0, 0.1, concurrency=2)
    ranking = ranking_of(one, backend(1, 0.1))
    for turn in range(1000):
        lease = Lease(one, Ticket(0.0), 0.0, 0)
        one.take(lease, turn)
        ranking.refresh(one, 0.0)
        one.release(lease, 0.1, Outcome.SERVED, 0.0)
        ranking.refresh(one, 0.0)
    assert len(ranking._free) < 100


def test_a_weight_orders_the_free_ones_and_makes_nobody_wait() -> None:
    usual, spared = backend(0, 1.0), backend(1, 0.5, weight=0.01)
    ranking = ranking_of(usual, spared)
    assert ranking.choose(1, 0.0) is usual
    fill(ranking, usual)
    assert ranking.hold_s() == pytest.approx(0.5)
    assert ranking.choose(1, 0.0) is spared


def test_a_weight_does_not_make_the_busy_ones_pass_for_fast() -> None:
    preferred, other = backend(0, 1.0, weight=100.0), backend(1, 1.0)
    ranking = ranking_of(preferred, other)
    assert ranking.choose(1, 0.0) is preferred
    fill(ranking, preferred)
    assert ranking.choose(1, 0.0) is other


def test_an_estimate_that_expired_is_renewed_by_one_request_and_not_by_as_many_as_fit() -> None:
    fast, forgotten = backend(0, 0.1, 4), backend(1, 10.0, 4)
    ranking = ranking_of(fast, forgotten)
    fast.service.learn(0.1, 1000.0)
    for one in (fast, forgotten):
        ranking.refresh(one, 1000.0)
    assert ranking.choose(1, 0.0) is forgotten
    forgotten.take(Lease(forgotten, Ticket(0.0), 0.0, 0), 1)
    ranking.refresh(forgotten, 1000.0)
    assert ranking.choose(1, 0.0) is fast
    assert FastestFree().pick([fast, forgotten], 1000.0, random.Random(1)) is fast


@pytest.mark.parametrize(
    ("preferred", "other"),
    [(backend(0, 10.0, weight=10.0), backend(1, 2.0)), (backend(0, 5.0), backend(1, 1.0, weight=0.1))],
    ids=["a large weight", "a small one"],
)
def test_whoever_is_preferred_but_held_hides_no_other(preferred: Backend, other: Backend) -> None:
    fast = backend(2, 0.5)
    ranking = ranking_of(preferred, other, fast)
    fill(ranking, fast)
    assert ranking.choose(1, 0.0) is other
    assert ranking.hold_s() <= other.service.expected_s


def test_estimate_expires_beside_a_tunnel_that_stands() -> None:
    fast, forgotten = backend(0, 0.1, 4), backend(1, 10.0, 4)
    ranking = ranking_of(fast, forgotten)
    forgotten.take(Lease(forgotten, Ticket(0.0), 0.0, 0), 1)
    forgotten.replying += 1
    fast.service.learn(0.1, 1000.0)
    for one in (fast, forgotten):
        ranking.refresh(one, 1000.0)
    assert ranking.choose(1, 0.0) is forgotten
