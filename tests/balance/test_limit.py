import math

import pytest

from ocr_tcp_lb.balance.limit import Limit, Told, Unlimited


def test_a_told_limit_is_believed() -> None:
    limit: Limit = Told(3)
    assert (limit.limit, limit.sure, limit.belief()) == (3, 3, "told")


def test_unlimited_has_no_bound() -> None:
    limit: Limit = Unlimited()
    assert (limit.limit, limit.sure, limit.belief()) == (math.inf, math.inf, "unlimited")


def test_a_limit_of_nothing_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        Told(0)
