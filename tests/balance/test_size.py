import random

import pytest

from ocr_tcp_lb.balance.size import TRUSTED_AFTER, SizeModel


def taught(exponent: float, noise: float = 0.2, count: int = 400) -> SizeModel:
    rng = random.Random(1)
    sizes = SizeModel()
    for _ in range(count):
        size = rng.choice([10_000, 80_000, 640_000])
        sizes.learn(size, (size / 80_000) ** exponent * rng.uniform(1 - noise, 1 + noise), 1.0)
    return sizes


def test_size_that_explains_service_time_is_believed() -> None:
    sizes = taught(exponent=1.0)
    assert sizes.is_believed
    assert sizes.explained > 0.9
    assert sizes.factor(640_000) / sizes.factor(10_000) == pytest.approx(64, rel=0.2)


def test_size_that_explains_nothing_changes_nothing() -> None:
    sizes = taught(exponent=0.0)
    assert not sizes.is_believed
    assert sizes.factor(640_000) == 1.0


def test_the_mean_request_has_factor_one() -> None:
    sizes = taught(exponent=1.0)
    assert sum(sizes.factor(size) for size in (10_000, 80_000, 640_000)) / 3 == pytest.approx(1, rel=0.15)


def test_nothing_is_believed_from_a_few_answers() -> None:
    assert not taught(exponent=1.0, count=TRUSTED_AFTER - 1).is_believed


@pytest.mark.parametrize("size", [None, 0, 1 << 40])
def test_unknown_and_unseen_sizes_are_taken_for_the_mean(size: int | None) -> None:
    assert taught(exponent=1.0).factor(size) == 1.0
