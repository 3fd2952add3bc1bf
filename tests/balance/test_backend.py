import pytest

from ocr_tcp_lb.balance.backend import Backend, BackendSpec
from ocr_tcp_lb.balance.lease import Lease, Ticket
from ocr_tcp_lb.balance.outcome import Outcome


def backend(concurrency: int = 2) -> Backend:
    return Backend(BackendSpec("b1", 1.0, concurrency))


def take(one: Backend, turn: int = 1) -> Lease:
    lease = Lease(one, Ticket(0.0), 0.0, 0)
    one.take(lease, turn)
    return lease


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.SERVED])
def test_only_a_good_reply_teaches_a_speed(outcome: Outcome) -> None:
    one = backend()
    one.release(take(one), 0.002, outcome, 0.002)
    assert one.service.mean_s == 0
    assert one.peak.value_s(0.002) == 0


@pytest.mark.parametrize(
    ("outcome", "served", "failed"),
    [
        (Outcome.SERVED, 1, 0),
        (Outcome.CLIENT_ERROR, 1, 0),
        (Outcome.SERVER_ERROR, 0, 1),
        (Outcome.CONNECT_FAILED, 0, 1),
        (Outcome.BROKE, 0, 1),
        (Outcome.HUNG_UP, 0, 1),
        (Outcome.SILENT, 0, 1),
        (Outcome.CLIENT_LEFT, 0, 0),
        (Outcome.STALE, 0, 0),
    ],
)
def test_each_outcome_is_counted_once(outcome: Outcome, served: int, failed: int) -> None:
    one = backend()
    one.release(take(one), 1.0, outcome, 1.0)
    assert (one.in_flight, one.served, one.failed) == (0, served, failed)


def test_full_means_every_slot_is_taken() -> None:
    one = backend(2)
    take(one)
    assert one.is_eligible
    take(one)
    assert not one.is_eligible
    assert not one.is_eligible


def test_a_draining_backend_is_not_eligible() -> None:
    one = backend()
    one.is_draining = True
    assert not one.is_eligible
    assert not one.is_in_service


def test_freeing_a_slot_that_nobody_took_is_a_mistake() -> None:
    one = backend()
    lease = Lease(one, Ticket(0.0), 0.0, 0)
    with pytest.raises(AssertionError):
        one.release(lease, 1.0, Outcome.SERVED, 1.0)


def test_a_negative_weight_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        Backend(BackendSpec("b1", -1.0))


def test_repr_tells_state_slots_and_speed() -> None:
    one = backend(8)
    leases = [take(one, turn) for turn in range(3)]
    one.release(leases[0], 0.041, Outcome.SERVED, 0.041)
    assert repr(one) == "<Backend b1 up 2/8 ewma=41ms>"
    one.is_draining = True
    assert repr(one) == "<Backend b1 up draining 2/8 ewma=41ms>"
    assert repr(Backend(BackendSpec("b2"))) == "<Backend b2 up 0/auto ewma=0ms>"


def test_repr_tells_what_was_learned() -> None:
    assert repr(Backend(BackendSpec("b1"), learns=True)) == (
        "<Backend b1 up 0/2 ewma=0ms learned 1, slope 0.00, evidence +0.0>"
    )


def test_a_slow_answer_of_a_large_request_does_not_make_the_backend_slow() -> None:
    one = backend()
    one.release(take(one), 10.0, Outcome.SERVED, 10.0, factor=10.0)
    assert one.service.mean_s == pytest.approx(1.0)
