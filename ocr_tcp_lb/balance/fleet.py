"""The fleet: takes tickets, grants leases, keeps the one queue. It decides and returns; the caller acts.

`ask` grants a lease or lets the ticket wait; `settle`, `tick`, `drain` and `restore` return the leases that
they made possible, whose tickets have left the queue. After each call no ticket waits that could use an open
slot, so a newcomer overtakes nobody whom its slot would have served. Each lease is to be settled exactly
once.
"""

import math
from collections.abc import Sequence

from ocr_tcp_lb.balance.backend import Backend, BackendSpec
from ocr_tcp_lb.balance.chance import Rng
from ocr_tcp_lb.balance.health import Event, State
from ocr_tcp_lb.balance.lease import Lease, Ticket
from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.balance.policy import POLICIES
from ocr_tcp_lb.balance.queue import TicketQueue
from ocr_tcp_lb.balance.roster import Roster
from ocr_tcp_lb.balance.snapshot import BackendSnapshot, FleetSnapshot

RETRIES = 2  # other attempts after the first; nginx tries every server, HAProxy 3 times


class Fleet:
    """All backends behind one port, and whoever waits for them."""

    def __init__(
        self,
        specs: Sequence[BackendSpec],
        policy_name: str,
        queue_size: int,
        rng: Rng,
        *,
        retries: int = RETRIES,
    ) -> None:
        assert specs, "a fleet has at least one backend"
        self.backends = tuple(Backend(spec) for spec in specs)
        self.policy_name = policy_name
        self._policy = POLICIES[policy_name]()
        self._rng = rng
        self._retries = retries
        self._queue = TicketQueue(queue_size)
        self._roster = Roster(self.backends)
        self._turn = 0
        self._next_event_at = math.inf

    @property
    def waiting(self) -> int:
        """How many tickets wait."""
        return len(self._queue)

    def ask(self, ticket: Ticket, now: float) -> Lease | None:
        """Return a lease, or None when the ticket now waits; raises `QueueFull`.

        A ticket that was granted a lease before waits at the head and is never refused.
        """
        candidates = self._candidates_for(ticket)
        if candidates:
            return self._grant(ticket, candidates, now)
        self._queue.push(ticket)
        return None

    def leave(self, ticket: Ticket) -> None:
        """Take a waiting ticket out of the queue."""
        self._queue.remove(ticket)

    def settle(self, lease: Lease, outcome: Outcome, now: float) -> Sequence[Lease]:
        """End an attempt: free its slot, learn from it, return the leases that this allows."""
        service_s = lease.close(now)
        backend = lease.backend
        backend.release(lease.granted_at, service_s, outcome, now)
        if outcome is not Outcome.SERVED or not backend.health.is_untroubled:
            lease.ticket.note(backend, outcome)
            self._judge(lease, outcome, now)
        return self._react(backend, now)

    def tick(self, now: float) -> Sequence[Lease]:
        """Put each backend whose back-off is over on trial; return the leases that this allows.

        To be called when `next_event_at` has come; calling it early does nothing.
        """
        if now < self._next_event_at:
            return ()
        grants: list[Lease] = []
        for backend in self.backends:
            if backend.health.state is State.EJECTED and backend.health.retry_at <= now:
                backend.health.move(Event.BACKOFF_OVER, now, self._rng)
                grants += self._react(backend, now)
        self._schedule()
        return grants

    def next_event_at(self) -> float:
        """Return when `tick` has something to do; infinite when nothing is due."""
        return self._next_event_at

    def may_retry(self, ticket: Ticket) -> bool:
        """Whether the ticket has attempts left; whether its replay is safe is the caller's to know.

        A refused connection is not counted: it cost no backend anything, so only the caller's patience bounds
        it. That is what lets requests survive the time in which every backend is down.
        """
        return ticket.failures <= self._retries

    def drain(self, backend: Backend, now: float) -> Sequence[Lease]:
        """Grant nothing more to the backend; what it has runs on. Returns as `settle` does."""
        backend.is_draining = True
        return self._react(backend, now)

    def restore(self, backend: Backend, now: float) -> Sequence[Lease]:
        """Undo `drain`."""
        backend.is_draining = False
        return self._react(backend, now)

    def snapshot(self) -> FleetSnapshot:
        """Return everything worth showing, as plain data."""
        return FleetSnapshot(
            policy=self.policy_name,
            waiting=self.waiting,
            queue_size=self._queue.size,
            backends=tuple(BackendSnapshot.of(backend) for backend in self.backends),
        )

    def _candidates_for(self, ticket: Ticket) -> Sequence[Backend]:
        """Return the open backends for a ticket: no tried one while an untried one is in service."""
        tried = ticket.tried
        if tried and any(b.is_in_service and b not in tried for b in self.backends):
            return self._roster.candidates_without(tried)
        return self._roster.candidates

    def _grant(self, ticket: Ticket, candidates: Sequence[Backend], now: float) -> Lease:
        """Choose and reserve in one step."""
        backend = candidates[0] if len(candidates) == 1 else self._policy.pick(candidates, now, self._rng)
        self._turn += 1
        backend.take(self._turn, now)
        ticket.attempts += 1
        self._roster.refresh(backend)
        return Lease(backend, ticket, now, backend.health.era)

    def _judge(self, lease: Lease, outcome: Outcome, now: float) -> None:
        """Let the outcome move the backend's health, if the lease is of the present era."""
        health = lease.backend.health
        if lease.era != health.era:
            return
        event = health.note(outcome)
        if health.may_be_spared(event) and not self._has_other_up(lease.backend):
            event = Event.SPARED
        if health.move(event, now, self._rng):
            self._schedule()

    def _has_other_up(self, backend: Backend) -> bool:
        others = (b for b in self.backends if b is not backend)
        return any(b.health.state is State.UP and not b.is_draining for b in others)

    def _schedule(self) -> None:
        ejected = (b.health for b in self.backends if b.health.state is State.EJECTED)
        self._next_event_at = min((health.retry_at for health in ejected), default=math.inf)

    def _react(self, backend: Backend, now: float) -> Sequence[Lease]:
        """Bring the roster up to date with the backend, then serve the queue as far as slots go."""
        self._roster.refresh(backend)
        return self._serve_queue(now) if self._queue else ()

    def _serve_queue(self, now: float) -> Sequence[Lease]:
        """Grant open slots in the order of the queue; a retry that may use none of them lets others pass."""
        grants: list[Lease] = []
        for ticket in self._queue.retries():
            if not self._roster.candidates:
                return grants
            candidates = self._candidates_for(ticket)
            if candidates:
                self._queue.remove(ticket)
                grants.append(self._grant(ticket, candidates, now))
        while candidates := self._roster.candidates:
            newcomer = self._queue.pop_newcomer()
            if newcomer is None:
                break
            grants.append(self._grant(newcomer, candidates, now))
        return grants
