"""What a whole reply says of its backend."""

import pytest

from ocr_tcp_lb.balance.outcome import Outcome, outcome_of


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.SERVED),
        (304, Outcome.SERVED),
        (400, Outcome.CLIENT_ERROR),
        (499, Outcome.CLIENT_ERROR),
        (500, Outcome.SERVER_ERROR),
        (501, Outcome.CLIENT_ERROR),  # a method that it does not know: any client could eject everybody
        (503, Outcome.SERVER_ERROR),
        (505, Outcome.CLIENT_ERROR),
    ],
)
def test_status_about_the_request_says_nothing_bad_of_the_backend(status: int, outcome: Outcome) -> None:
    assert outcome_of(status) is outcome
