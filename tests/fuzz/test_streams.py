"""A few seconds of what `python -m tests.fuzz.streams` does for hours."""

import os

import pytest

from .streams import StreamWorld, run

COUNT = int(os.environ.get("OCR_TCP_LB_FUZZ", "200_000")) // 10  # worlds under the marker


def test_fifteen_hundred_streams_keep_every_invariant() -> None:
    came = run(1_500, seed=1)
    assert all(came[how] > 300 for how in ("end", "reset")), came


@pytest.mark.fuzz
@pytest.mark.timeout(0)
def test_many_streams_keep_every_invariant() -> None:
    run(COUNT, seed=int.from_bytes(os.urandom(4)), report=print)


@pytest.mark.parametrize("seed", range(3))
def test_a_seed_is_a_history(seed: int) -> None:
    first, second = StreamWorld(seed), StreamWorld(seed)
    assert (first.run(), repr(first.client)) == (second.run(), repr(second.client))
