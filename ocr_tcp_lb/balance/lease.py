"""A request's claim on a backend: the ticket that asks, and the lease that it is granted.

A ticket lives as long as its request and remembers where it was tried. A lease is one attempt: it holds one
slot from the grant until `Fleet.settle`, which must be called exactly once, cancellation included.
"""

from collections.abc import Mapping
from typing import Final

from ocr_tcp_lb.balance.backend import Backend
from ocr_tcp_lb.balance.health import State
from ocr_tcp_lb.balance.limit import InFlight
from ocr_tcp_lb.balance.outcome import FAILURES, Outcome

LEAST_URGENT = 9  # low numbers are urgent, as in RFC 9218 section 4.1 and in mail's X-Priority
USUAL_PRIORITY = 5
_NOWHERE: Final[Mapping[Backend, int]] = {}
_NOBODY: Final[frozenset[Backend]] = frozenset()


class Ticket:
    """One request that wants a backend; compared and hashed by identity.

    Written out, as `Lease` is: one of each is made for every request, and `mypyc` takes no slotted dataclass.
    """

    __slots__ = ("arrived_at", "attempts", "deaths", "failures", "key", "priority", "size_bytes", "tried", "upgrades")

    def __init__(
        self,
        arrived_at: float,
        size_bytes: int | None = None,
        *,
        attempts: int = 0,
        failures: int = 0,
        priority: int = USUAL_PRIORITY,
        key: str = "",
    ) -> None:
        self.arrived_at = arrived_at
        self.size_bytes = size_bytes  # of the body, where known
        self.tried: Mapping[Backend, int] = _NOWHERE  # backends where an attempt failed, and the era of their health
        self.attempts = attempts  # leases granted so far
        self.failures = failures  # attempts that may have cost a backend work; a refused connection is none
        self.deaths: frozenset[Backend] = _NOBODY  # backends that broke while they had it
        self.priority = priority  # 0 is the most urgent, 9 the least
        self.key = key  # whose request it is; keys share the queue fairly
        self.upgrades = False  # whether it asks for another protocol, and may stay for hours

    @property
    def is_retry(self) -> bool:
        """Whether it was granted a lease before, and so has waited its turn already."""
        return self.attempts > 0

    def may_return_to(self, backend: Backend) -> bool:
        """Whether a backend where it failed has been left out since, and is back, if only on trial."""
        return backend.health.state is not State.EJECTED and backend.health.era > self.tried[backend]

    def grant(self, lease: "Lease") -> None:
        """Take the lease that it has waited for; called by whoever acts on the fleet's grants, the relay's hub."""
        raise NotImplementedError

    def displace(self) -> None:
        """Wait no more: another one has its place; called as `grant` is."""
        raise NotImplementedError

    def note(self, lease: "Lease", outcome: Outcome) -> None:
        """Remember how an attempt ended; the fleet calls this when the lease is settled."""
        if outcome in FAILURES:
            self.tried = {**self.tried, lease.backend: lease.era}
            if outcome is not Outcome.CONNECT_FAILED:
                self.failures += 1
            if outcome is Outcome.BROKE:
                self.deaths |= {lease.backend}


class Lease(InFlight):
    """One slot of one backend, held for one attempt of one ticket."""

    __slots__ = ("backend", "era", "is_settled", "ticket")

    def __init__(self, backend: Backend, ticket: Ticket, granted_at: float, era: int) -> None:
        self.backend = backend
        self.ticket = ticket
        self.granted_at = granted_at
        self.era = era  # of the backend's health when granted; see `health.Health`
        self.answered_at = None  # the caller may note the reply's head here
        self.is_settled = False

    def close(self, now: float) -> float:
        """Mark as settled and return the service time in seconds.

        It ends with the reply's head where that was noted: a slow reader does not make the backend slow.
        """
        assert not self.is_settled, f"a lease of {self.backend!r} was settled twice"
        self.is_settled = True
        return (now if self.answered_at is None else self.answered_at) - self.granted_at
