"""A few seconds of what `python -m tests.fuzz.exchanges` does for hours."""

import os

import pytest

from .exchanges import World, run

COUNT = int(os.environ.get("OCR_TCP_LB_FUZZ", "200_000")) // 10  # exchanges under the marker


def test_a_thousand_exchanges_keep_every_invariant() -> None:
    came = run(1_000, seed=6_000_000)
    assert came["delivered"] > 300, came
    assert came["refused"] > 50, came
    assert came["broken"] > 10, came
    assert came["hedged"] > 5, came


@pytest.mark.fuzz
@pytest.mark.timeout(0)
def test_many_exchanges_keep_every_invariant() -> None:
    run(COUNT, seed=int.from_bytes(os.urandom(4)), report=print)


@pytest.mark.parametrize("seed", range(3))
def test_a_seed_is_a_history(seed: int) -> None:
    first, second = World(seed), World(seed)
    assert (first.run(), first.ledger) == (second.run(), second.ledger)
