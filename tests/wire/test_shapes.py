import time

import pytest

from ocr_tcp_lb.wire.shapes import BoundedCache, Plans, cells_of, picker, positions, split, template


def test_a_strict_head_splits_into_its_template_and_its_values() -> None:
    cells = split(b"A b C\r\nX: 1: 2\r\nY-z: \xe9\tw\r\n\r\n")
    assert cells[::2] == template(b"A b C", [b"X", b"Y-z"])
    assert cells[1::2] == [b"1: 2", b"\xe9\tw"]


@pytest.mark.parametrize(
    "lines",
    [
        b"X:1\r\n",
        b"X:  1\r\n",
        b"X: 1 \r\n",
        b"X: 1\t\r\n",
        b"X: \r\n",
        b"X:\r\n",
        b"X: 1\n",
        b"X: 1\r",
        b"X: a\x00b\r\n",
        b"X: 1\r\n Y: 2\r\n",
        b"X\x00: 1\r\n",
        b"X: : \r\n",
    ],
)
def test_anything_else_leaves_no_good_template(lines: bytes) -> None:
    cells = split(b"S\r\n" + lines + b"\r\n")
    assert cells[::2] != template(b"S", [b"X"])


@pytest.mark.parametrize("value", [b": " * 8000, b": \x01" * 5000, b": a " * 4000 + b" ", b"a" + b" " * 16000])
def test_splitting_hostile_values_takes_linear_time(value: bytes) -> None:
    began = time.process_time()
    split(b"S\r\nX: " + value + b"\r\n\r\n")
    assert time.process_time() - began < 0.1  # quadratic would be seconds


def test_a_full_cache_starts_afresh() -> None:
    cache: BoundedCache[int] = BoundedCache(2, 4)
    for number, key in enumerate([b"a", b"b", b"c", b"too long"]):
        cache.add(key, number)
    assert (cache.get(b"a"), cache.get(b"c"), cache.get(b"too long"), len(cache)) == (None, 2, None, 1)


def test_a_cache_of_no_entries_remembers_nothing() -> None:
    cache: BoundedCache[int] = BoundedCache(0, 4)
    cache.add(b"a", 1)
    assert len(cache) == 0


def test_plans_are_bounded_in_number_and_size() -> None:
    plans: Plans[int] = Plans()
    for number in range(100):
        plans.add(b"%d" % number, number)
    for long in ((b"x" * 200, b"y" * 200), b"z" * 400):
        plans.add(long, 1)
        assert long not in plans
    assert len(plans) <= 8
    assert plans[b"99"] == 99


def test_positions_point_at_values() -> None:
    cells = cells_of([b"1", b"2", b"3"])
    assert [cells[i] for i in positions([b"A", b"B", b"a"], b"a")] == [b"1", b"3"]
    assert picker([1])(cells) == b"1"
    assert picker([1, 5])(cells) == (b"1", b"3")
    assert picker([])(cells) == b"\r\n"
