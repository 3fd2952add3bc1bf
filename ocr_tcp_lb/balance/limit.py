"""How many requests a backend takes at once: one small strategy object per backend.

`sure` slots are believed to be worked on side by side. Between `sure` and `limit` a request may be sent on probation,
but only one that would have had to wait anyway. Both are read before each grant and may be infinite. Those here do not
learn; `learned.Learned` does, and is told what happens (`Learner`).
"""

import math
from typing import Protocol


class InFlight(Protocol):
    """An attempt, as far as a limit cares; a lease is one. The learner that is told of it keeps its notes there."""

    granted_at: float
    answered_at: float | None
    level: int  # how many were in flight with it when it was sent
    sure: float  # what was believed then
    elders_to_wait_for: int  # answers before it could begin, were there no more slots
    begins_at: float  # when it began in that case; meaningful once no elder is waited for


class Limit(Protocol):
    """What a backend may have in flight, in requests."""

    @property
    def sure(self) -> float:
        """How many at once it is believed to work on side by side."""

    @property
    def limit(self) -> float:
        """The most requests in flight at once, now, probes counted; `math.inf` when unbounded."""

    def belief(self) -> str:
        """What is believed and why, in a few words for people."""


class Learner(Limit, Protocol):
    """A limit that is told of everything, and moves."""

    def on_grant(self, attempt: InFlight, in_flight: int) -> None:
        """Note a grant; `in_flight` counts it."""

    def on_answer(
        self, attempt: InFlight, service_s: float | None, now: float, waiting: int, factor: float = 1.0
    ) -> bool:
        """Note the end of an attempt; `service_s` is None unless it was served, `waiting` is the queue's length.

        `factor` is how long such a request takes relative to the mean, where its size says so.

        Returns whether the time taken speaks for the backend's speed: it does not if the attempt was a probe, which
        may have waited inside the backend.
        """


class Told:
    """The operator said `concurrency=N`, and is believed."""

    __slots__ = ("limit", "sure")

    def __init__(self, limit: int) -> None:
        assert limit >= 1, "a backend that takes nothing is not a backend"
        self.limit = float(limit)
        self.sure = float(limit)

    def belief(self) -> str:
        """Return the operator's word."""
        return "told"


class Unlimited:
    """For the policies that bind a request at once and have no use for a limit."""

    __slots__ = ("limit", "sure")

    def __init__(self) -> None:
        self.limit = math.inf
        self.sure = math.inf

    def belief(self) -> str:
        """Return that there is none."""
        return "unlimited"
