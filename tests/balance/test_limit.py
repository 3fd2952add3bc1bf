import math

import pytest

from ocr_tcp_lb.balance.limit import Limit, Told, Unlimited, limit_for


def test_a_told_limit_is_believed_whatever_happens() -> None:
    limit: Limit = limit_for(3)
    limit.on_grant(3, 0.0)
    limit.on_answer(0.0, 2, True, 1.0)
    assert isinstance(limit, Told)
    assert limit.limit == 3


def test_auto_is_unbounded() -> None:
    limit: Limit = limit_for("auto")
    limit.on_grant(1000, 0.0)
    limit.on_answer(0.0, 999, True, 1.0)
    assert isinstance(limit, Unlimited)
    assert limit.limit == math.inf


def test_a_limit_of_nothing_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        Told(0)
