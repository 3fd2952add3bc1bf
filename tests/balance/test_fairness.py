from ocr_tcp_lb.balance.fairness import FairLane
from ocr_tcp_lb.balance.lease import Ticket


def push(lane: FairLane, key: str, rank: float = 0.0, cost: float = 1.0) -> Ticket:
    ticket = Ticket(None, 0.0, key=key)
    lane.push(ticket, rank, cost)
    return ticket


def keys(lane: FairLane, count: int) -> str:
    return "".join(ticket.key for ticket in (lane.pop() for _ in range(count)) if ticket is not None)


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
        push(lane, "a", cost=3.0)
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
    last, first, middle = push(lane, "a", 3.0), push(lane, "a", 1.0), push(lane, "a", 2.0)
    assert [lane.pop(), lane.pop(), lane.pop(), lane.pop()] == [first, middle, last, None]


def test_whoever_leaves_costs_nothing() -> None:
    lane = FairLane()
    leavers = [push(lane, "a") for _ in range(10)]
    stayer = push(lane, "b")
    for ticket in leavers:
        lane.discard(ticket)
    assert len(lane) == 1
    assert lane.first() is stayer


def test_memory_of_keys_that_left_is_bounded() -> None:
    lane = FairLane()
    for number in range(1000):
        push(lane, f"client {number}")
        lane.pop()
    assert len(lane._shares) < 200
