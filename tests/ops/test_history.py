"""The last ten minutes: differences of counters, in a ring."""

import pytest

from ocr_tcp_lb.ops.histogram import Histogram
from ocr_tcp_lb.ops.history import History, Totals


def add(history: History, totals: Totals, *, at: float = 1000.0, waiting: int = 0) -> None:
    history.add(at, 2.0, totals, waiting=waiting, in_flight=0, lag_s=0.0015)


def test_point_is_what_happened_since_the_one_before() -> None:
    history, durations = History(), Histogram()
    for _ in range(10):
        durations.add(0.1)
    add(history, Totals(10, 1, list(durations.counts)))
    for _ in range(4):
        durations.add(2.0)
    add(history, Totals(14, 1, list(durations.counts)), waiting=3)
    first, second = history.after(0)
    assert (first.requests_per_s, first.errors_per_s, first.lag_ms) == (5.0, 0.5, 1.5)
    assert (second.requests_per_s, second.errors_per_s, second.waiting) == (2.0, 0.0, 3)
    assert first.p95_ms == pytest.approx(100, rel=0.2)
    assert second.p50_ms == pytest.approx(2000, rel=0.2)


def test_quiet_step_has_no_latency() -> None:
    history = History()
    add(history, Totals(0, 0, [0] * len(Histogram().counts)))
    (point,) = history.after(0)
    assert (point.p50_ms, point.p99_ms, point.requests_per_s) == (None, None, 0)


def test_only_the_last_points_are_kept_and_each_is_given_once() -> None:
    history = History(points=3)
    for count in range(5):
        add(history, Totals(count))
    assert [point.number for point in history.after(0)] == [3, 4, 5]
    assert [point.number for point in history.after(4)] == [5]
    assert history.after(5) == []
