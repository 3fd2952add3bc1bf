import pytest

from ocr_tcp_lb.balance.lease import Ticket
from ocr_tcp_lb.balance.order import Turn
from ocr_tcp_lb.balance.queue import QueueFull, TicketQueue


def newcomer() -> Ticket:
    return Ticket(0.0)


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
