"""A few seconds of what `python -m tests.fuzz.heads` does for hours, and of the properties of its parts."""

import os

import pytest

from .heads import run
from .mutate import Breeder, corpus

COUNT = int(os.environ.get("OCR_TCP_LB_FUZZ", "200_000"))  # inputs under the marker


def test_twelve_thousand_inputs_find_no_disagreement() -> None:
    accepted = run(12_000, seed=3)
    assert all(accepted[kind] > 100 for kind in ("requests", "replies", "chunks")), accepted


@pytest.mark.fuzz
@pytest.mark.timeout(0)
def test_many_inputs_find_no_disagreement() -> None:
    run(COUNT, seed=int.from_bytes(os.urandom(4)), report=print)


@pytest.mark.parametrize("kind", ["requests", "replies", "chunks"])
def test_equal_seeds_breed_equal_inputs(kind: str) -> None:
    first, second = Breeder(corpus(kind), 5), Breeder(corpus(kind), 5)
    assert [first.next() for _ in range(50)] == [second.next() for _ in range(50)]
