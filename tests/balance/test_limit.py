import math

import pytest

from ocr_tcp_lb.balance.backend import Backend, BackendSpec
from ocr_tcp_lb.balance.lease import Lease, Ticket
from ocr_tcp_lb.balance.limit import Limit, Told, Unlimited


def lease() -> Lease:
    return Lease(Backend(BackendSpec("b1")), Ticket(None, 0.0), 0.0, 0)


def test_a_told_limit_is_believed_whatever_happens() -> None:
    limit: Limit = Told(3)
    one = lease()
    limit.on_grant(one, 3)
    assert limit.on_answer(one, 1.0, 1.0, 0)
    assert (limit.limit, limit.sure, limit.belief()) == (3, 3, "told")


def test_unlimited_stays_so() -> None:
    limit: Limit = Unlimited()
    one = lease()
    limit.on_grant(one, 1000)
    assert limit.on_answer(one, 1.0, 1.0, 0)
    assert (limit.limit, limit.sure, limit.belief()) == (math.inf, math.inf, "unlimited")


def test_a_limit_of_nothing_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        Told(0)
