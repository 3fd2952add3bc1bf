"""Prometheus' text format, as its official parser reads it."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from ocr_tcp_lb.ops.exposition import NO_LABELS, Family, counter, gauge, histogram
from ocr_tcp_lb.ops.histogram import SERVICE_BOUNDS_S, Histogram


def read(family: Family) -> list[tuple[str, dict[str, str], float]]:
    (parsed,) = text_string_to_metric_families(str(family))
    assert (parsed.type, parsed.documentation) == (family.kind, family.help)
    return [(one.name, one.labels, one.value) for one in parsed.samples]


def test_counter_is_read_as_one() -> None:
    got = read(counter("a_total", "What.", [({"b": "x"}, 3), ({"b": "y"}, 4)]))
    assert got == [("a_total", {"b": "x"}, 3), ("a_total", {"b": "y"}, 4)]


def test_gauge_may_be_infinite_and_truth_is_1() -> None:
    got = read(gauge("a", "What.", [({"b": "x"}, math.inf), ({"b": "y"}, True), ({"b": "z"}, 0.1)]))
    assert [value for _, _, value in got] == [math.inf, 1, 0.1]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
def test_any_label_value_comes_back(text: str) -> None:
    text = text.replace("\r", "").encode("utf-8", "replace").decode()
    lines = [line for line in str(gauge("a", "What.", [({"b": text}, 1)])).split("\n") if line]
    assert len(lines) == 3
    assert read(gauge("a", "What.", [({"b": text}, 1)])) == [("a", {"b": text}, 1)]


def test_histogram_is_cumulative_and_ends_with_infinity() -> None:
    values = Histogram()
    for value in (0.001, 0.02, 0.02, 1000.0):
        values.add(value)
    got = read(histogram("a_seconds", "What.", [(NO_LABELS, values)]))
    buckets = [value for name, _, value in got if name == "a_seconds_bucket"]
    assert buckets == sorted(buckets)
    assert len(buckets) == len(SERVICE_BOUNDS_S) + 1
    assert got[len(buckets) - 1] == ("a_seconds_bucket", {"le": "+Inf"}, 4)
    assert got[-2:] == [("a_seconds_sum", {}, values.sum_s), ("a_seconds_count", {}, 4)]
    assert got[0] == ("a_seconds_bucket", {"le": "0.005"}, 1)
