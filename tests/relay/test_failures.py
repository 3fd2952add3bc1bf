"""How a failed attempt is told to the client."""

import pytest

from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.relay.failures import AttemptFailed


@pytest.mark.parametrize(
    ("outcome", "status", "code", "retry_after_s"),
    [
        (Outcome.CONNECT_FAILED, 503, "no_backend", 1),
        (Outcome.SILENT, 504, "backend_silent", None),
        (Outcome.BROKE, 502, "backend_broke", None),
        (Outcome.STALE, 502, "backend_broke", None),
    ],
)
def test_failure_has_its_status(outcome: Outcome, status: int, code: str, retry_after_s: int | None) -> None:
    refusal = AttemptFailed(outcome, "why").as_refusal()
    assert (refusal.status, refusal.code, refusal.message) == (status, code, "why")
    assert refusal.retry_after_s == retry_after_s
