"""Figures in words."""

from typing import Any

import pytest

from ocr_tcp_lb.ops import words

UP: dict[str, Any] = {"state": "up", "is_draining": False, "is_silent": False, "trial_in_s": None, "tunnels": 0}


@pytest.mark.parametrize(
    ("change", "said", "mood"),
    [
        ({}, ["up"], "good"),
        ({"state": "ejected", "trial_in_s": 3.4}, ["ejected", "trial in 3 s"], "bad"),
        ({"state": "trial"}, ["trial"], "fair"),
        ({"is_silent": True}, ["silent"], "fair"),
        ({"is_draining": True, "tunnels": 2}, ["draining", "2 tunnels"], "fair"),
        ({"state": "ejected", "trial_in_s": 3.4, "is_silent": True}, ["ejected", "trial in 3 s"], "bad"),
        ({"is_draining": True}, ["draining"], "fair"),
        ({"state": "ejected", "trial_in_s": 3.4, "is_draining": True}, ["draining", "ejected", "trial in 3 s"], "fair"),
    ],
)
def test_state_of_a_backend(change: dict[str, Any], said: list[str], mood: str) -> None:
    assert words.state({**UP, **change}) == (said, mood)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        (0.0, "0 ms"),
        (0.123, "0.123 ms"),
        (999.0, "999 ms"),
        (999.7, "1 s"),
        (1234.0, "1.23 s"),
        (999_700.0, "1,000 s"),
        (1_234_000.0, "1,230 s"),
    ],
)
def test_times_have_three_digits(value: float | None, said: str) -> None:
    assert words.milliseconds(value) == said


@pytest.mark.parametrize(("seconds", "said"), [(None, None), (0.0, 0.0), (0.0123456, 12.3), (2.0, 2000.0)])
def test_times_for_machines_are_milliseconds(seconds: float | None, said: float | None) -> None:
    assert words.rounded_ms(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(5.0, "5 s"), (65.0, "1 min 5 s"), (7260.0, "2 h 1 min"), (90000.0, "1 d 1 h")]
)
def test_spans_have_two_units(seconds: float, said: str) -> None:
    assert words.span(seconds) == said


def test_no_requests_have_no_errors() -> None:
    assert words.error_share({"requests": 0, "errors": 0}) == "0 %"


@pytest.mark.parametrize(
    ("errors", "requests", "said"),
    [
        (1, 1, "100 %"),
        (996, 1000, "100 %"),
        (99, 100, "99 %"),
        (1, 3000, "0.033 %"),
        (1, 3_000_000, "0.000033 %"),
        (0, 9, "0 %"),
    ],
)
def test_share_of_errors_has_no_exponent(errors: int, requests: int, said: str) -> None:
    assert words.error_share({"requests": requests, "errors": errors}) == said


@pytest.mark.parametrize(("value", "said"), [(0.25, "0.25"), (999.4, "999"), (1234.0, "1,230"), (15_678.0, "15,700")])
def test_figures_have_three_digits_and_no_exponent(value: float, said: str) -> None:
    assert words.figure(value) == said
