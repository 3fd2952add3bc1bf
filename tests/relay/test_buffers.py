"""The store of slabs: bounded, and warm."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_tcp_lb.relay.buffers import KEPT_SLABS, SLAB_BYTES, Slabs


def test_slab_is_at_most_so_large_and_no_larger_than_needed() -> None:
    slabs = Slabs(10 * SLAB_BYTES)
    small, large = slabs.take(10), slabs.take(10 * SLAB_BYTES)
    assert small is not None
    assert large is not None
    assert (len(small), len(large)) == (10, SLAB_BYTES)
    assert slabs.used_bytes == 10 + SLAB_BYTES


def test_used_up_store_gives_none_until_something_comes_back() -> None:
    slabs = Slabs(SLAB_BYTES)
    slab = slabs.take(SLAB_BYTES)
    assert slab is not None
    assert slabs.take(1) is None
    slabs.give_back(slab)
    assert slabs.take(1) is not None


def test_slabs_are_used_again_and_few_are_kept() -> None:
    slabs = Slabs(1000 * SLAB_BYTES)
    slab = slabs.take(SLAB_BYTES)
    assert slab is not None
    slabs.give_back(slab)
    assert slabs.take(SLAB_BYTES) is slab
    taken = [slabs.take(SLAB_BYTES) for _ in range(2 * KEPT_SLABS)]
    for one in taken:
        assert one is not None
        slabs.give_back(one)
    assert len(slabs._kept) == KEPT_SLABS


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 2 * SLAB_BYTES), st.none()), max_size=30))
def test_never_more_than_the_capacity_and_all_comes_back(steps: list[int | None]) -> None:
    slabs = Slabs(3 * SLAB_BYTES)
    lent: list[bytearray] = []
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
