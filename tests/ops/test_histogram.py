"""Histograms: exact counts in published buckets, percentiles that are near enough."""

import random

import pytest

from ocr_tcp_lb.ops.histogram import FINE_SERVICE_BOUNDS_S, FINENESS, SERVICE_BOUNDS_S, Histogram, percentile, refined


def test_value_on_a_bound_belongs_below_it() -> None:
    histogram = Histogram()
    for value in (0.005, 0.0050001, 300.0, 301.0):
        histogram.add(value)
    buckets = dict(histogram.cumulative())
    assert (buckets[0.005], buckets[0.01], buckets[300.0]) == (1, 2, 3)
    assert (histogram.count, histogram.sum_s) == (4, pytest.approx(601.0100001))


def test_histograms_of_the_same_bounds_share_the_fine_ones() -> None:
    assert Histogram().fine is Histogram().fine is FINE_SERVICE_BOUNDS_S


def test_refined_bounds_grow_and_contain_the_published_ones() -> None:
    fine = refined(SERVICE_BOUNDS_S)
    assert list(fine) == sorted(set(fine))
    assert fine[FINENESS - 1 :: FINENESS] == SERVICE_BOUNDS_S


def test_published_buckets_count_as_if_each_value_were_compared() -> None:
    rng = random.Random(1)
    values = [10 ** rng.uniform(-4, 3) for _ in range(2000)]
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    assert list(histogram.cumulative()) == [(b, sum(v <= b for v in values)) for b in SERVICE_BOUNDS_S]


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_percentile_is_right_within_a_fifth(share: float) -> None:
    rng = random.Random(2)
    values = sorted(rng.lognormvariate(-1, 1) for _ in range(5000))
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    got = percentile(histogram.counts, histogram.fine, share)
    assert got == pytest.approx(values[int(share * len(values))], rel=0.2)


def test_percentile_of_nothing_is_none_and_beyond_the_last_bound_is_that_bound() -> None:
    histogram = Histogram()
    assert percentile(histogram.counts, histogram.fine, 0.5) is None
    histogram.add(1e6)
    assert percentile(histogram.counts, histogram.fine, 0.5) == 300.0
