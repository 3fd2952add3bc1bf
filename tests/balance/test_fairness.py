import random
from collections import Counter

from ocr_tcp_lb.balance.fairness import FairLane
from ocr_tcp_lb.balance.lease import Ticket
from ocr_tcp_lb.balance.order import Turn

LEVEL = Turn(0.0)


def push(lane: FairLane, key: str, turn: Turn = LEVEL) -> Ticket:
    ticket = Ticket(0.0, key=key)
    lane.push(ticket, turn)
    return ticket


def take(lane: FairLane, now: float = 0.0) -> Ticket | None:
    ticket = lane.first(now)
    if ticket is not None:
        lane.take(ticket)
    return ticket


def keys(lane: FairLane, count: int) -> str:
    return "".join(ticket.key for ticket in (take(lane) for _ in range(count)) if ticket is not None)


def test_a_batch_of_5000_does_not_starve_a_single_request() -> None:
    lane = FairLane()
    for _ in range(5000):
        push(lane, "a")
    keys(lane, 100)
    push(lane, "b")
    assert "b" in keys(lane, 2)


def test_keys_that_wait_take_turns() -> None:
    lane = FairLane()
    for key in "aaaabbbb":
        push(lane, key)
    assert keys(lane, 8) == "abababab"


def test_a_key_with_costly_requests_gets_fewer_turns() -> None:
    lane = FairLane()
    for _ in range(8):
        push(lane, "a", Turn(0.0, cost=3.0))
        push(lane, "b")
    assert keys(lane, 8).count("b") == 6


def test_idleness_earns_no_credit() -> None:
    lane = FairLane()
    for _ in range(100):
        push(lane, "a")
    keys(lane, 90)
    for _ in range(5):
        push(lane, "b")
    assert keys(lane, 6).count("a") >= 2


def test_an_endless_stream_of_new_keys_does_not_starve_an_old_one() -> None:
    lane = FairLane()
    for _ in range(20):
        push(lane, "a")
    served = ""
    for number in range(100):
        push(lane, str(number % 10) + chr(0x100 + number))
        served += keys(lane, 1)[0]
    assert served.count("a") >= 10  # its share beside some nine others that wait


def test_within_a_key_the_lowest_rank_is_first() -> None:
    lane = FairLane()
    last, first, middle = (push(lane, "a", Turn(rank)) for rank in (3.0, 1.0, 2.0))
    assert [take(lane) for _ in range(4)] == [first, middle, last, None]


def test_whoever_is_due_goes_before_lower_ranks_until_it_is_late() -> None:
    lane = FairLane()
    large = push(lane, "a", Turn(9.0, due_at=5.0, late_at=6.0))
    small = push(lane, "a", Turn(1.0))
    assert [lane.first(now) for now in (4.0, 5.0, 6.0, 6.1)] == [small, large, large, small]
    assert [take(lane, 7.0) for _ in range(3)] == [small, large, None]


def test_of_several_who_are_due_the_first_to_be_late_goes_first() -> None:
    lane = FairLane()
    second = push(lane, "a", Turn(1.0, due_at=3.0, late_at=9.0))
    first = push(lane, "a", Turn(2.0, due_at=2.0, late_at=8.0))
    assert [take(lane, 4.0), take(lane, 4.0)] == [first, second]


def test_nobody_is_overtaken_by_those_who_come_after_its_rank_even_if_they_are_due() -> None:
    lane = FairLane()
    late = push(lane, "a", Turn(4.0, due_at=1.0, late_at=2.0))
    for arrived_at in (3.0, 5.0):
        lane.push(Ticket(arrived_at, key="a"), Turn(9.0, due_at=6.0, late_at=7.0))
    order = [take(lane, 6.0) for _ in range(3)]
    assert [ticket.arrived_at for ticket in order if ticket] == [3.0, 0.0, 5.0]
    assert order[1] is late


def test_a_key_may_come_back_after_all_its_tickets_left() -> None:
    lane = FairLane()
    lane.discard(push(lane, "a"))
    back = push(lane, "a")
    assert [take(lane), take(lane)] == [back, None]


def test_whoever_leaves_costs_nothing() -> None:
    lane = FairLane()
    leavers = [push(lane, "a") for _ in range(10)]
    stayer = push(lane, "b")
    for ticket in leavers:
        lane.discard(ticket)
    assert len(lane) == 1
    assert lane.first(0.0) is stayer


def test_memory_of_tickets_that_left_is_bounded_while_the_first_one_waits() -> None:
    lane = FairLane()
    first = push(lane, "a")
    for _ in range(1000):
        lane.discard(push(lane, "a", Turn(1.0, due_at=1.0, late_at=2.0)))
    share = lane._shares["a"]
    assert len(share.ranks) + len(share.dues) < 300
    assert [take(lane), take(lane)] == [first, None]


def test_memory_of_keys_that_left_is_bounded() -> None:
    lane = FairLane()
    for number in range(1000):
        push(lane, f"client {number}")
        take(lane)
    assert len(lane._shares) < 200


def test_once_nobody_waits_no_key_owes_anything() -> None:
    lane = FairLane()
    push(lane, "a", Turn(0.0, cost=50.0))
    push(lane, "b")
    keys(lane, 3)
    for key in "aaaabbbb":
        push(lane, key)
    assert keys(lane, 8) == "abababab", "it is another day"


def test_who_leaves_last_leaves_no_debts_either() -> None:
    lane = FairLane()
    push(lane, "a", Turn(0.0, cost=50.0))
    left = push(lane, "b")
    take(lane)
    lane.discard(left)
    for key in "aabb":
        push(lane, key)
    assert keys(lane, 4) == "abab"


def test_the_largest_crowd_is_known_whoever_comes_goes_and_is_served() -> None:
    rng = random.Random(1)
    lane, waiting = FairLane(), []
    for _ in range(3000):
        if not waiting or rng.random() < 0.55:
            waiting.append(push(lane, rng.choice("aaabbc") + rng.choice("12")))
        elif rng.random() < 0.5:
            waiting.remove(take(lane))
        else:
            lane.discard(waiting.pop(rng.randrange(len(waiting))))
        if waiting and rng.random() < 0.3:
            counts = Counter(ticket.key for ticket in waiting)
            count, last = lane.crowd()
            assert count == max(counts.values()) == counts[last.key]
            assert last is [ticket for ticket in waiting if ticket.key == last.key][-1]


def test_memory_for_crowds_is_bounded() -> None:
    lane = FairLane()
    push(lane, "a")
    lane.crowd()
    for _ in range(1000):
        lane.discard(push(lane, "b"))
    assert len(lane._crowds) < 100
