"""Whether a request may be tried once more: not too often itself, and not too often for the fleet.

Without a budget, a fleet that fails a third of its requests gets a third more of them, and then fails the rest. What
is counted are attempts that may have cost a backend work; a refused connection costs nothing and needs no budget.
"""

import math

from ocr_tcp_lb.balance.lease import Ticket

SHARE = 0.2  # retries for each request; Finagle and linkerd use 20 %
FLOOR = 100.0  # retries within the window that are always allowed; Finagle: 10 a second for 10 seconds
WINDOW_S = 10.0  # time constant of "recent"
DEATHS_OF_POISON = 2  # a request that was running on so many backends when they broke is tried on no other


class Retries:
    """What one request has left, within what all of them have left."""

    __slots__ = ("budget", "most")

    def __init__(self, most: int) -> None:
        self.most = most  # other attempts after the first
        self.budget = RetryBudget()

    def has_left(self, ticket: Ticket, granted: int, now: float, *, failing: int = 0) -> bool:
        """Whether the ticket may be tried on another backend; with `failing` attempts under way, if they fail, too.

        `granted` is how many leases there were in all.
        """
        return (
            ticket.failures + failing <= self.most
            and len(ticket.deaths) + failing < DEATHS_OF_POISON
            and self.budget.has_room(granted, now)
        )


class RetryBudget:
    """A share of recent traffic, and never less than a small fleet needs.

    Requests and retries of the recent past count; the requests are told as the fleet's count of grants, which is free.
    """

    __slots__ = ("_counted_at", "_granted", "_requests", "_retries")

    def __init__(self) -> None:
        self._granted = 0  # when last counted
        self._counted_at = math.inf  # nothing yet: all counts in full at the first look
        self._requests = 0.0
        self._retries = 0.0

    def has_room(self, granted: int, now: float) -> bool:
        """Whether one more retry is within the budget; `granted` is how many leases there were in all."""
        requests, retries = self._recent(granted, now)
        return retries + 1 <= FLOOR + SHARE * requests

    def spend(self, granted: int, now: float) -> None:
        """Count a retry."""
        requests, retries = self._recent(granted, now)
        self._requests, self._retries = requests, retries + 1
        self._granted, self._counted_at = granted, now

    def _recent(self, granted: int, now: float) -> tuple[float, float]:
        """The requests and retries that still count; what was granted since the last retry came evenly, so to say.

        Were it all taken for recent, a day without a retry would let a storm of them pass.
        """
        elapsed_s = max(0.0, now - self._counted_at)
        kept = math.exp(-elapsed_s / WINDOW_S)
        fresh = float(granted - self._granted)
        if elapsed_s:
            fresh *= (1 - kept) * WINDOW_S / elapsed_s
        return self._requests * kept + fresh, self._retries * kept
