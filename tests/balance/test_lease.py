import pytest

from ocr_tcp_lb.balance.backend import Backend, BackendSpec
from ocr_tcp_lb.balance.lease import Lease, Ticket
from ocr_tcp_lb.balance.outcome import Outcome

BACKEND = Backend(BackendSpec("b1"))


def lease() -> Lease:
    return Lease(BACKEND, Ticket(0.0), granted_at=1.0, era=0)


def test_a_lease_closes_once() -> None:
    one = lease()
    one.close(2.0)
    with pytest.raises(AssertionError, match="twice"):
        one.close(3.0)


def test_the_service_time_ends_with_the_reply() -> None:
    assert lease().close(3.5) == 2.5


def test_a_client_that_reads_slowly_does_not_count_against_the_backend() -> None:
    one = lease()
    one.answered_at = 1.5
    assert one.close(60.0) == 0.5


@pytest.mark.parametrize(
    ("outcome", "is_tried", "failures"),
    [
        (Outcome.SERVED, False, 0),
        (Outcome.CLIENT_ERROR, False, 0),
        (Outcome.SERVER_ERROR, True, 1),
        (Outcome.CONNECT_FAILED, True, 0),
        (Outcome.BROKE, True, 1),
        (Outcome.HUNG_UP, True, 1),
        (Outcome.SILENT, True, 1),
        (Outcome.CLIENT_LEFT, False, 0),
        (Outcome.STALE, False, 0),
    ],
)
def test_a_ticket_remembers_where_it_failed(outcome: Outcome, is_tried: bool, failures: int) -> None:
    one = lease()
    ticket = one.ticket
    ticket.note(one, outcome)
    assert (BACKEND in ticket.tried) is is_tried
    assert ticket.failures == failures


def test_a_backend_that_breaks_twice_counts_as_one_that_died_of_it() -> None:
    ticket = Ticket(0.0)
    for _ in range(2):
        ticket.note(Lease(BACKEND, ticket, granted_at=1.0, era=0), Outcome.BROKE)
    assert (len(ticket.deaths), ticket.failures) == (1, 2)


def test_a_ticket_is_a_retry_once_it_was_granted_a_lease() -> None:
    ticket = Ticket(0.0)
    assert not ticket.is_retry
    ticket.attempts = 1
    assert ticket.is_retry
