"""How many requests a backend takes at once: one small strategy object per backend.

`sure` slots are believed to be worked on side by side. Between `sure` and `limit` a request may be sent on probation,
but only one that would have had to wait anyway. Both are read before each grant and may be infinite. Those here do not
learn; `learned.Learned` does, and is told what happens.
"""

import math


class InFlight:
    """An attempt, as far as a limit cares; a lease is one. The learner that is told of it keeps its notes there."""

    __slots__ = ("answered_at", "begins_at", "elders_to_wait_for", "granted_at", "level", "sure")

    granted_at: float
    answered_at: float | None
    level: int  # how many were in flight with it when it was sent
    sure: float  # what was believed then
    elders_to_wait_for: int  # answers before it could begin, were there no more slots
    begins_at: float  # when it began in that case; meaningful once no elder is waited for


class Limit:
    """What a backend may have in flight, in requests."""

    __slots__ = ("limit", "sure")

    sure: float  # how many at once it is believed to work on side by side
    limit: float  # the most requests in flight at once, now, probes counted; `math.inf` when unbounded

    def belief(self) -> str:
        """What is believed and why, in a few words for people."""
        raise NotImplementedError


class Told(Limit):
    """The operator said `concurrency=N`, and is believed."""

    __slots__ = ()

    def __init__(self, limit: int) -> None:
        assert limit >= 1, "a backend that takes nothing is not a backend"
        self.limit = float(limit)
        self.sure = float(limit)

    def belief(self) -> str:
        """Return the operator's word."""
        return "told"


class Unlimited(Limit):
    """For the policies that bind a request at once and have no use for a limit."""

    __slots__ = ()

    def __init__(self) -> None:
        self.limit = math.inf
        self.sure = math.inf

    def belief(self) -> str:
        """Return that there is none."""
        return "unlimited"
