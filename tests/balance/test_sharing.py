"""Response times by level tell whether more at once gain anything, and backends of one fleet learn from each other."""

import random

import pytest

from ocr_tcp_lb.balance.sharing import SHARING_SLOPE, ByLevel, Kin


@pytest.mark.parametrize(("exponent", "is_sharing"), [(0.0, False), (1.0, True)])
def test_response_time_by_level_tells_sharing(exponent: float, is_sharing: bool) -> None:
    by_level = ByLevel()
    rng = random.Random(3)
    for _ in range(40):
        for level in (1, 2, 3):
            by_level.learn(level, level**exponent * rng.uniform(0.5, 1.5))
    assert (by_level.slope > SHARING_SLOPE) is is_sharing


def seen(kin: Kin, at_two: float, rounds: int, is_overtaking: bool = True) -> ByLevel:
    """What a backend of this kin has learned that takes `at_two` times as long for two."""
    by_level = ByLevel(kin)
    by_level.is_overtaking = is_overtaking
    for _ in range(rounds):
        by_level.learn(1, 1.0)
        by_level.learn(2, at_two)
    return by_level


@pytest.mark.parametrize(("has_kin", "is_sharing"), [(False, False), (True, True)])
def test_sharing_is_found_out_by_few_answers_once_the_kin_were(has_kin: bool, is_sharing: bool) -> None:
    kin = Kin()
    seen(kin, 1.6, 20 * has_kin)
    assert (seen(kin, 1.6, 4).slope > SHARING_SLOPE) is is_sharing


@pytest.mark.parametrize("rounds", [1, 3, 10, 40])
def test_no_backend_is_taken_for_sharing_because_its_kin_are(rounds: int) -> None:
    kin = Kin()
    seen(kin, 2.0, 100)
    assert seen(kin, 1.0, rounds).slope <= SHARING_SLOPE


def test_a_single_thread_says_nothing_about_its_kin() -> None:
    kin = Kin()
    seen(kin, 2.0, 100, is_overtaking=False)
    assert kin.slope == 0


def test_many_answers_in_company_prove_little_to_the_kin_while_few_alone_are_known() -> None:
    kin = Kin()
    by_level = seen(kin, 2.0, 1)
    for _ in range(200):
        by_level.learn(2, 2.0)
    assert kin.slope < 0.1
