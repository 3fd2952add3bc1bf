import pytest

from ocr_tcp_lb.balance.retry import FLOOR, SHARE, WINDOW_S, RetryBudget


def spend_all(budget: RetryBudget, granted: int, now: float) -> int:
    count = 0
    while budget.has_room(granted, now):
        budget.spend(granted, now)
        count += 1
    return count


def test_a_quiet_fleet_may_retry_as_often_as_the_floor_says() -> None:
    assert spend_all(RetryBudget(), 0, 0.0) == FLOOR


def test_traffic_earns_a_share_of_retries() -> None:
    assert spend_all(RetryBudget(), 1000, 0.0) == FLOOR + SHARE * 1000


def test_a_request_earns_only_once() -> None:
    budget = RetryBudget()
    spend_all(budget, 1000, 0.0)
    assert not budget.has_room(1000, 0.0)


def test_what_was_spent_is_forgotten_with_time() -> None:
    budget = RetryBudget()
    spend_all(budget, 0, 0.0)
    assert not budget.has_room(0, WINDOW_S / 1000)
    assert spend_all(budget, 0, 30 * WINDOW_S) >= FLOOR - 1


def test_asking_spends_nothing() -> None:
    budget = RetryBudget()
    assert all(budget.has_room(0, 0.0) for _ in range(1000))


def test_what_came_long_ago_earns_nothing_now() -> None:
    """Or a quiet day, at 20 requests a second, would let a storm of 345,000 retries pass."""
    budget = RetryBudget()
    budget.spend(0, 0.0)
    day_s = 86400.0
    assert spend_all(budget, int(20 * day_s), day_s) == pytest.approx(FLOOR + SHARE * 20 * WINDOW_S, abs=1)


def test_steady_traffic_counts_the_same_however_often_it_is_looked_at() -> None:
    often, seldom = RetryBudget(), RetryBudget()
    for second in range(1, 101):
        often.spend(20 * second, float(second))
    seldom.spend(0, 0.0)
    assert often._recent(2000, 100.0)[0] == pytest.approx(seldom._recent(2000, 100.0)[0], rel=0.01)


def test_clock_that_began_long_before_us_takes_nothing_away() -> None:
    assert spend_all(RetryBudget(), 1000, 1e6) == FLOOR + SHARE * 1000
