"""Counting requests: each record exactly once, by backend, status and ending."""

import pytest

from ocr_tcp_lb.ops.tally import KEPT_ERRORS, Tally, is_error
from ocr_tcp_lb.relay.record import Record


def record(backend: str = "b1", status: int = 200, ending: str = "ok", attempts: int = 1) -> Record:
    one = Record("127.0.0.1", b"id", b"POST", b"/get_ocr")
    one.backend, one.status, one.ending, one.attempts = backend, status, ending, attempts
    one.bytes_in, one.bytes_out = 1000, 20
    one.began, one.asked, one.ended = 100.0, 100.0, 100.3
    if backend != "-":
        one.leased, one.connected = 100.1, 100.11
        one.answered = 100.21 if status else 0.0
    return one


def test_each_record_is_counted_once_where_it_belongs() -> None:
    tally = Tally()
    tally.note([record(), record(), record("b2", 500)])
    tally.note([record("-", 503, "queue_full", 0), record(attempts=3)])
    assert tally.backends["b1"].endings == {(200, "ok"): 3}
    assert tally.backends["b2"].endings == {(500, "ok"): 1}
    assert tally.backends["-"].endings == {(503, "queue_full"): 1}
    assert (tally.requests, tally.errors, tally.retries) == (5, 2, 2)
    assert (tally.backends["b1"].bytes_in, tally.backends["b1"].bytes_out) == (3000, 60)


def test_phases_that_were_not_reached_are_not_measured() -> None:
    tally = Tally()
    tally.note([record("-", 503, "queue_full", 0)])
    tally.note([record("b1", 0, "client_left")])
    assert tally.waits.count == 1
    assert tally.backends["-"].service.count == tally.backends["b1"].service.count == 0
    assert sum(tally.duration_counts()) == 2


def test_times_are_those_of_the_phases() -> None:
    tally = Tally()
    tally.note([record()])
    backend = tally.backends["b1"]
    assert tally.waits.sum_s == pytest.approx(0.1)
    assert backend.service.sum_s == pytest.approx(0.1)
    assert backend.duration.sum_s == pytest.approx(0.3)


def test_hours_of_a_tunnel_are_no_duration_of_a_request() -> None:
    tally = Tally()
    tally.note([record("b1", 101, "tunnel"), record("b1", 101, "client_left"), record("b1", 101, "idle_timeout")])
    assert tally.requests == 3
    assert sum(tally.duration_counts()) == 0


@pytest.mark.parametrize(
    ("status", "ending", "expected"),
    [
        (200, "ok", False),
        (404, "ok", False),
        (101, "tunnel", False),
        (0, "client_left", False),
        (400, "bad_request", False),
        (0, "idle_timeout", False),
        (501, "unsupported_coding", False),
        (505, "ok", False),
        (500, "ok", True),
        (503, "queue_full", True),
        (200, "broken_reply", True),
        (0, "no_backend", True),
        (0, "cancelled", True),
    ],
)
def test_error_is_what_the_service_is_to_blame_for(status: int, ending: str, expected: bool) -> None:
    assert is_error(status, ending) is expected
    tally = Tally()
    tally.note([record(status=status, ending=ending)])
    assert (tally.errors, len(tally.recent_errors)) == (int(expected), int(expected))


def test_only_the_last_errors_are_kept() -> None:
    tally = Tally()
    for number in range(KEPT_ERRORS + 5):
        tally.note([record(status=500 + number)])
    assert len(tally.recent_errors) == KEPT_ERRORS
    assert tally.recent_errors[-1].status == 500 + KEPT_ERRORS + 4


def test_durations_of_all_backends_add_up() -> None:
    tally = Tally()
    assert sum(tally.duration_counts()) == 0
    for name in ("b1", "b2", "-"):
        tally.note([record(name)])
    assert sum(tally.duration_counts()) == 3
