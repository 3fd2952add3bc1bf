import pytest

from ocr_tcp_lb.balance.lease import Ticket
from ocr_tcp_lb.balance.order import Turn
from ocr_tcp_lb.balance.queue import PRIORITY_STEP_S, QueueFull, TicketQueue


def newcomer(key: str = "", priority: int = 5, arrived_at: float = 0.0) -> Ticket:
    return Ticket(arrived_at, key=key, priority=priority)


def retry() -> Ticket:
    return Ticket(0.0, attempts=1)


def take(queue: TicketQueue) -> Ticket | None:
    ticket = queue.first_newcomer(0.0)
    if ticket is not None:
        queue.take(ticket)
    return ticket


def test_newcomers_leave_in_the_order_they_came() -> None:
    queue = TicketQueue(3)
    tickets = [newcomer() for _ in range(3)]
    for ticket in tickets:
        queue.push(ticket)
    assert [take(queue) for _ in range(4)] == [*tickets, None]


def test_retries_keep_their_order_too() -> None:
    queue = TicketQueue(3)
    tickets = [retry() for _ in range(3)]
    for ticket in tickets:
        queue.push(ticket)
    assert list(queue.retries()) == tickets


def test_a_ticket_may_leave_from_anywhere() -> None:
    queue = TicketQueue(3)
    first, second, third = (newcomer() for _ in range(3))
    again = retry()
    for ticket in (first, second, third, again):
        queue.push(ticket)
    queue.remove(second)
    queue.remove(again)
    assert len(queue) == 2
    assert second not in queue
    assert again not in queue
    assert [take(queue), take(queue)] == [first, third]


def test_a_full_queue_refuses_newcomers_and_says_how_many_wait() -> None:
    queue = TicketQueue(1)
    queue.push(newcomer())
    with pytest.raises(QueueFull) as caught:
        queue.push(newcomer())
    assert caught.value.waiting == 1
    assert len(queue) == 1


def test_a_full_queue_takes_retries_back() -> None:
    queue = TicketQueue(0)
    queue.push(retry())
    assert len(queue) == 1


def test_waiting_twice_is_a_mistake() -> None:
    queue = TicketQueue(2)
    ticket = newcomer()
    queue.push(ticket)
    with pytest.raises(AssertionError):
        queue.push(ticket)


def test_leaving_without_waiting_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        TicketQueue(2).remove(newcomer())


def test_the_work_that_waits_is_what_the_waiting_cost() -> None:
    queue = TicketQueue(3)
    first, second, third = (newcomer() for _ in range(3))
    for ticket, cost in ((first, 0.1), (second, 0.2), (third, 5.0)):
        queue.push(ticket, Turn(0.0, cost))
    assert queue.work == pytest.approx(5.3)
    queue.remove(third)
    assert queue.work == pytest.approx(0.3)
    queue.take(first)
    queue.remove(second)
    assert queue.work == 0.0


def test_a_full_queue_is_shared_the_last_of_the_key_with_the_most_makes_room() -> None:
    queue = TicketQueue(4)
    many = [newcomer("many") for _ in range(4)]
    for ticket in many:
        assert queue.push(ticket) is None
    assert queue.push(newcomer("few")) is many[3]
    assert queue.push(newcomer("few")) is many[2]
    for key in ("few", "many"):
        with pytest.raises(QueueFull):
            queue.push(newcomer(key))
    assert len(queue) == 4


def test_who_waits_alone_is_not_displaced_by_an_equal() -> None:
    queue = TicketQueue(2)
    for key in "ab":
        queue.push(newcomer(key))
    with pytest.raises(QueueFull):
        queue.push(newcomer("c"))


def test_an_urgent_one_displaces_who_would_be_served_after_it_and_nobody_who_has_aged() -> None:
    queue = TicketQueue(2)
    aged, young = newcomer("a", 5, arrived_at=0.0), newcomer("b", 9, arrived_at=100.0)
    for ticket in (aged, young):
        queue.push(ticket)
    assert queue.push(newcomer("c", 0, arrived_at=101.0)) is young
    with pytest.raises(QueueFull):
        queue.push(newcomer("c", 0, arrived_at=101.0))
    assert aged in queue


def test_a_less_urgent_one_displaces_nobody() -> None:
    queue = TicketQueue(2)
    for _ in range(2):
        queue.push(newcomer("many", 4))
    with pytest.raises(QueueFull):
        queue.push(newcomer("few", 5))


def test_retries_are_never_displaced() -> None:
    queue = TicketQueue(2)
    for _ in range(2):
        queue.push(Ticket(0.0, attempts=1, key="many"))
    with pytest.raises(QueueFull):
        queue.push(newcomer("few", 0))


def test_those_who_have_aged_past_an_urgent_newcomer_are_ahead_of_it() -> None:
    queue = TicketQueue(9)
    for number in range(5):
        queue.push(newcomer(str(number), 6))
    assert queue.ahead_of(newcomer("urgent", 5, arrived_at=PRIORITY_STEP_S - 1)) == 0
    assert queue.ahead_of(newcomer("urgent", 5, arrived_at=PRIORITY_STEP_S)) == 5
