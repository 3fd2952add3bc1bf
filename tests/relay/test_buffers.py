"""The store of slabs: bounded, and warm."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_tcp_lb.relay.buffers import KEPT_BYTES, KEPT_BYTES_EACH, SLAB_BYTES, SLAB_STEP_BYTES, Slabs


def test_slab_is_at_most_so_large_and_hardly_larger_than_needed() -> None:
    slabs = Slabs(10 * SLAB_BYTES)
    for wanted, got in (
        (1, 1),
        (SLAB_STEP_BYTES, SLAB_STEP_BYTES),
        (SLAB_STEP_BYTES + 1, 2 * SLAB_STEP_BYTES),
        (SLAB_BYTES, SLAB_BYTES),
        (10 * SLAB_BYTES, SLAB_BYTES),
    ):
        before = slabs.used_bytes
        slab = slabs.take(wanted)
        assert slab is not None
        assert len(slab) == got == slabs.used_bytes - before


def test_used_up_store_gives_none_until_something_comes_back() -> None:
    slabs = Slabs(SLAB_BYTES)
    slab = slabs.take(SLAB_BYTES)
    assert slab is not None
    assert slabs.take(1) is None
    slabs.give_back(slab)
    assert slabs.take(1) is not None


@pytest.mark.parametrize(("size", "kept_bytes"), [(SLAB_BYTES, KEPT_BYTES), (3 * SLAB_STEP_BYTES, KEPT_BYTES_EACH)])
def test_slabs_are_used_again_and_few_are_kept(size: int, kept_bytes: int) -> None:
    slabs = Slabs(1000 * SLAB_BYTES)
    slab = slabs.take(size)
    assert slab is not None
    slabs.give_back(slab)
    assert slabs.take(size) is slab
    taken = [slabs.take(size) for _ in range(2 * kept_bytes // size)]
    for one in taken:
        assert one is not None
        slabs.give_back(one)
    assert kept_bytes <= sum(len(kept) * size for kept in slabs._kept) < kept_bytes + size


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 2 * SLAB_BYTES), st.none()), max_size=30))
def test_never_more_than_the_capacity_and_all_comes_back(steps: list[int | None]) -> None:
    slabs = Slabs(3 * SLAB_BYTES)
    lent: list[memoryview] = []
    for size in steps:
        if size is None and lent:
            slabs.give_back(lent.pop())
        elif size is not None and (slab := slabs.take(size)) is not None:
            lent.append(slab)
        assert slabs.used_bytes == sum(map(len, lent)) <= slabs.capacity_bytes
        assert len({id(slab) for slab in lent}) == len(lent), "no slab is lent twice"
    for slab in lent:
        slabs.give_back(slab)
    assert slabs.used_bytes == 0
