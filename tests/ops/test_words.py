"""Figures in words."""

from typing import Any

import pytest

from ocr_tcp_lb.ops import words

UP: dict[str, Any] = {"state": "up", "is_draining": False, "is_silent": False, "trial_in_s": None}


@pytest.mark.parametrize(
    ("change", "said", "mood"),
    [
        ({}, ["up"], "good"),
        ({"state": "ejected", "trial_in_s": 3.4}, ["ejected", "trial in 3 s"], "bad"),
        ({"state": "trial"}, ["trial"], "fair"),
        ({"is_silent": True}, ["silent"], "fair"),
        ({"state": "ejected", "trial_in_s": 3.4, "is_silent": True}, ["ejected", "trial in 3 s"], "bad"),
        ({"is_draining": True}, ["draining"], "fair"),
        ({"state": "ejected", "trial_in_s": 3.4, "is_draining": True}, ["draining", "ejected", "trial in 3 s"], "fair"),
    ],
)
def test_state_of_a_backend(change: dict[str, Any], said: list[str], mood: str) -> None:
    assert words.state({**UP, **change}) == (said, mood)


@pytest.mark.parametrize(
    ("value", "said"), [(None, "-"), (0.0, "0 ms"), (0.123, "0.123 ms"), (999.0, "999 ms"), (1234.0, "1.23 s")]
)
def test_times_have_three_digits(value: float | None, said: str) -> None:
    assert words.milliseconds(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(5.0, "5 s"), (65.0, "1 min 5 s"), (7260.0, "2 h 1 min"), (90000.0, "1 d 1 h")]
)
def test_spans_have_two_units(seconds: float, said: str) -> None:
    assert words.span(seconds) == said


def test_no_requests_have_no_errors() -> None:
    assert words.error_share({"requests": 0, "errors": 0}) == "0 %"
    assert words.error_share({"requests": 3000, "errors": 1}) == "0.033 %"
