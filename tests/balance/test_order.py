import math
import random

import pytest

from ocr_tcp_lb.balance.order import AGEING_MOST, AGEING_SHARE, LEAD, ON_TIME, BySize

USUAL_S = 0.25


def after(latencies_s: list[float]) -> BySize:
    """Return an order that has seen FIFO latencies."""
    order = BySize(math.inf)
    for latency_s in latencies_s:
        order.turn(0.0, 1.0, 0.0, latency_s, 0.0)
    return order


def test_a_larger_request_ranks_as_if_it_had_come_later_and_no_later_than_the_bound() -> None:
    ranks = [BySize(math.inf).turn(7.0, cost, cost * USUAL_S, 0.0, 0.1).rank for cost in (0.1, 1.0, 3.0, 100.0)]
    assert ranks == sorted(ranks)
    assert ranks[0] > 7.0
    assert ranks[-1] == pytest.approx(7.0 + AGEING_MOST * 100 * USUAL_S)


def test_it_is_due_one_gap_before_it_must_start_to_be_on_time() -> None:
    order = after([3.0] * 1000)
    late_s = order.turn(0.0, 1.0, 0.0, 3.0, 0.0).late_at
    turn = order.turn(10.0, 4.0, 1.0, 0.0, 0.2)
    assert turn.late_at == pytest.approx(10.0 + late_s - 1.0, rel=0.01)
    assert turn.due_at == pytest.approx(turn.late_at - LEAD * 0.2)


@pytest.mark.parametrize("seed", range(3))
def test_late_is_what_few_would_be_in_a_fifo_queue(seed: int) -> None:
    rng = random.Random(seed)
    order = after([rng.expovariate(1.0) for _ in range(2000)])
    samples = [rng.expovariate(1.0) for _ in range(4000)]
    on_time = sum(latency_s <= order.turn(0.0, 1.0, 0.0, latency_s, 0.0).late_at for latency_s in samples)
    assert on_time / 4000 == pytest.approx(ON_TIME, abs=0.01)


def test_the_estimate_follows_when_latencies_change() -> None:
    order = after([3.0] * 500 + [30.0] * 200)
    assert order.turn(0.0, 1.0, 0.0, 30.0, 0.0).late_at >= 30.0


def test_no_head_start_takes_more_than_a_share_of_the_time_out() -> None:
    """Or large requests would leave the queue by their time-out, which serves nobody."""
    order = BySize(60.0)
    assert order.turn(7.0, 10.0, 20.0, 0.0, 0.1).rank == pytest.approx(7.0 + AGEING_SHARE * 60.0)
    order.timeout_s = 3600.0
    assert order.turn(7.0, 10.0, 20.0, 0.0, 0.1).rank == pytest.approx(7.0 + AGEING_MOST * 20.0)
