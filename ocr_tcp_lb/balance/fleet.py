"""The fleet: takes tickets, grants leases, keeps the one queue. It decides and returns; the caller acts.

`ask` grants a lease or lets the ticket wait; `settle`, `tick` and whatever else may open a slot return the leases
that they made possible, whose tickets have left the queue. After each call no ticket waits that could use an open
slot, except those held back from a slow backend for a faster one (`ranking`), which `tick` lets go in time. So
`next_event_at` is to be looked at after `ask` too. Each lease is to be settled exactly once.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Final

from ocr_tcp_lb.balance.backend import Backend, BackendSpec
from ocr_tcp_lb.balance.care import Care
from ocr_tcp_lb.balance.chance import Rng
from ocr_tcp_lb.balance.choice import choose_to_stay, choose_untried
from ocr_tcp_lb.balance.hedge import Patience
from ocr_tcp_lb.balance.lease import Lease, Ticket
from ocr_tcp_lb.balance.outcome import SERVED, Outcome
from ocr_tcp_lb.balance.outlook import Order, Outlook
from ocr_tcp_lb.balance.queue import TicketQueue
from ocr_tcp_lb.balance.retry import Retries
from ocr_tcp_lb.balance.roster import roster_for
from ocr_tcp_lb.balance.sharing import Kin
from ocr_tcp_lb.balance.snapshot import BackendSnapshot, FleetSnapshot

SHORTEST_TIMER_S: Final = 0.001  # a decision that did not change is not to be asked for in a loop
QUEUE_TIMEOUT_S = 60.0  # the longest wait for a backend; the caller's to enforce
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
        order: Order = "fifo",
        queue_timeout_s: float = QUEUE_TIMEOUT_S,
    ) -> None:
        assert specs, "a fleet has at least one backend"
        self._learns = policy_name == "queue"  # the others bind a request at once and have no use for a learned limit
        self._kin = Kin()
        self._numbers = itertools.count()
        self.backends: tuple[Backend, ...] = ()
        self.policy_name = policy_name
        self._outlook = Outlook(order, queue_timeout_s)
        self._sizes = self._outlook.sizes
        self._rng = rng
        self._retries = Retries(retries)
        self._care = Care(rng)
        self.news = self._care.news
        self.patience = Patience()  # of hedged requests; told and asked by the caller
        self.hedges = 0
        self._queue = TicketQueue(queue_size)
        self._grants = 0  # so far
        self._hold_until = math.inf
        self._displaced: list[Ticket] = []
        self._assemble([self._enlist(spec) for spec in specs])

    @property
    def next_event_at(self) -> float:
        """When `tick` has something to do; each call below may bring it nearer."""
        return min(self._care.trial_at, self._hold_until)

    @property
    def is_ready(self) -> bool:
        """Whether a request that came now could be expected to be served, if not at once."""
        return any(backend.gives_hope for backend in self.backends)

    @property
    def waiting(self) -> int:
        """How many tickets wait."""
        return self._queue.count

    def ask(self, ticket: Ticket, now: float) -> Lease | None:
        """Return a lease, or None when the ticket now waits; raises `QueueFull`.

        A ticket that was granted a lease before waits at the head and is never refused. A newcomer may get an open
        backend while others wait: one so slow that those ahead do better to wait for a faster one. With the queue full
        it gets that one at once, or another one's place: see `take_displaced`.
        """
        if ticket.tried:
            if ticket.failures:
                self._retries.budget.spend(self._grants, now)
            backend = choose_untried(self.backends, self._roster, ticket, now)
        else:
            position = self._queue.ahead_of(ticket) + 1 if self._queue.count else 1
            stays = ticket.upgrades and self._learns and not self._queue.count
            backend = (choose_to_stay(self.backends) if stays else None) or self._roster.choose(position, 0.0, now)
            if backend is None and self._queue.is_full:
                backend = self._roster.choose(position, math.inf, now)
        if backend is not None:
            return self._grant(ticket, backend, now)
        self._push(ticket, now)
        return None

    def take_displaced(self) -> Sequence[Ticket]:
        """Return those that had to leave the full queue, once: for newcomers that were more urgent, or of fewer.

        To be called after each `ask` that made a ticket wait, and they are to be refused.
        """
        if not self._displaced:
            return ()
        taken, self._displaced = self._displaced, []
        return taken

    def leave(self, ticket: Ticket) -> None:
        """Take a waiting ticket out of the queue."""
        self._queue.remove(ticket)

    def settle(self, lease: Lease, outcome: Outcome, now: float) -> Sequence[Lease]:
        """End an attempt: free its slot, learn from it, return the leases that this allows."""
        service_s = lease.close(now)
        backend, ticket = lease.backend, lease.ticket
        mean_s = backend.service.mean_s
        size_bytes = ticket.size_bytes
        factor = self._sizes.factor(size_bytes) if size_bytes else 1.0
        taught = backend.release(lease, service_s, outcome, now, self._queue.count, factor)
        if taught and size_bytes:
            self._outlook.learn(size_bytes, service_s, mean_s, now)
        if outcome is not SERVED or not backend.health.is_untroubled:
            ticket.note(lease, outcome)
            self._care.judge(lease, outcome, now)
        if not backend.is_gone:  # `_react` written out: this is the end of every request
            self._roster.refresh(backend)
        return self._serve_queue(now) if self._queue.count else ()

    def begin_reply(self, lease: Lease) -> None:
        """Note that a reply has begun and may go on for long; to be called once, and `end_reply` before `settle`."""
        lease.backend.replying += 1

    def end_reply(self, lease: Lease) -> None:
        """Undo `begin_reply`."""
        lease.backend.replying -= 1

    def prove(self, lease: Lease, now: float) -> Sequence[Lease]:
        """Take the backend for well though the attempt goes on, perhaps for hours; returns as `settle` does.

        For long replies, tunnels and L4 connections: a trial must not keep all others away for so long.
        """
        if not self._care.prove(lease, now):
            return ()
        return self._react(lease.backend, now)

    def tick(self, now: float) -> Sequence[Lease]:
        """Put each backend whose back-off is over on trial, let go who was held; return the leases this allows.

        To be called when `next_event_at` has come; calling it early does nothing.
        """
        if now < self.next_event_at:
            return ()
        if now >= self._care.trial_at:
            for backend in self._care.begin_trials(now):  # all before any is granted: a retry must see every choice
                self._roster.refresh(backend)
        return self._serve_queue(now)

    def let_go(self, lease: Lease, now: float) -> Sequence[Lease]:
        """Give back the slot of a tunnel that goes on, where slots are learned; returns as `settle` does.

        How many at once a backend works on cannot be learned from those that only stand open, and a few of them would
        keep everybody else out. `end_tunnel` when it has ended.
        """
        if lease.backend.learner is None:
            return ()
        lease.backend.tunnels += 1
        return self.settle(lease, Outcome.CLIENT_ERROR, now)

    def end_tunnel(self, lease: Lease) -> None:
        """Note the end of a tunnel that was let go."""
        lease.backend.tunnels -= 1

    def checked(self, backend: Backend, is_well: bool, now: float, *, hold_s: float = 0.0) -> Sequence[Lease]:
        """Take in a health check of an idle backend; see `Health.note_check`. Returns as `settle` does."""
        assert not backend.in_flight, "a backend with work in flight is busy, and not to be checked"
        self._care.check(backend, is_well, now, hold_s)
        return self._react(backend, now)

    def review(self, now: float) -> Sequence[Lease]:
        """Pass over backends that may hang, and come back to those that answer; returns as `settle` does.

        To be called a few times a second.
        """
        changed = self._care.review(self._outlook.mean_service_s(now), now)
        for backend in changed:
            self._roster.refresh(backend)
        return self._serve_queue(now) if changed and self._queue.count else ()

    def may_retry(self, ticket: Ticket, now: float) -> bool:
        """Whether the ticket has attempts left; whether its replay is safe is the caller's to know.

        A refused connection is not counted: it cost no backend anything, so only the caller's patience bounds
        it. That is what lets requests survive the time in which every backend is down.
        """
        return not ticket.failures or self._retries.has_left(ticket, self._grants, now)

    def could_retry(self, lease: Lease, now: float) -> bool:
        """Whether another backend could have the request at once or soon, were this attempt to fail."""
        ticket = lease.ticket
        return self._retries.has_left(ticket, self._grants, now, failing=1) and any(
            b.is_in_service and b is not lease.backend and b not in ticket.tried for b in self.backends
        )

    def hedge(self, lease: Lease, now: float) -> Lease | None:
        """Return a second lease for a ticket whose backend is silent, or None where that would be at others' cost.

        It takes only a slot that nobody waits for and that its backend is believed to have, and counts as a retry.
        """
        ticket = lease.ticket
        if self._queue.count or not self._retries.has_left(ticket, self._grants, now, failing=1):
            return None
        backend = self._roster.choose_except([*ticket.tried, lease.backend], now)
        if backend is None or backend.in_flight >= backend.limiter.sure:
            return None
        self._retries.budget.spend(self._grants, now)
        self.hedges += 1
        return self._grant(ticket, backend, now)

    def drain(self, backend: Backend, now: float) -> Sequence[Lease]:
        """Grant nothing more to the backend; what it has runs on. Returns as `settle` does."""
        backend.is_draining = True
        self._care.hasten_trials(now)
        return self._react(backend, now)

    def undrain(self, backend: Backend, now: float) -> Sequence[Lease]:
        """Undo `drain`."""
        backend.is_draining = False
        return self._react(backend, now)

    def add(self, spec: BackendSpec, now: float, *, is_draining: bool = False) -> Sequence[Lease]:
        """Let a new backend join, as the last of `backends`. Returns as `settle` does."""
        backend = self._enlist(spec)
        backend.is_draining = is_draining
        self._assemble([*self.backends, backend])
        return self._serve_queue(now)

    def remove(self, backend: Backend, now: float) -> Sequence[Lease]:
        """Let a backend go, never the last one; what it has in flight is settled as ever, and concerns nobody else.

        Returns as `settle` does: a retry may have waited for this one alone, and now takes a backend that it has tried.
        """
        assert len(self.backends) > 1, "a fleet has at least one backend"
        backend.is_draining = backend.is_gone = True
        self._assemble([one for one in self.backends if one is not backend])
        self._care.hasten_trials(now)
        return self._serve_queue(now)

    def adopt(self, backend: Backend, spec: BackendSpec, now: float) -> Sequence[Lease]:
        """Give a backend another name, weight or limit. Returns as `settle` does."""
        backend.adopt(spec, learns=self._learns)
        self._assemble(self.backends)
        return self._serve_queue(now)

    def set_queue(self, size: int, order: Order, retries: int, timeout_s: float) -> None:
        """Let another number of requests wait, in another order, and be tried again; who waits already stays.

        `timeout_s` is how long they wait at most, which is the caller's to enforce.
        """
        self._queue.size = size
        self._outlook.set_order(order, timeout_s)
        self._retries.most = retries

    def expected_wait_s(self, ticket: Ticket, now: float) -> float:
        """Return an honest estimate of how long the ticket would wait if it came now, in seconds.

        Zero while nothing is measured, and infinite while nothing is in service and no back-off is due.
        """
        wait_s = self._outlook.wait_s(ticket, self._queue, now)
        return max(0.0, self._care.trial_at - now) if wait_s == math.inf else wait_s

    def can_meet(self, ticket: Ticket, deadline: float, now: float) -> bool:
        """Whether the ticket, coming now, can be expected to be answered by `deadline` (on the clock of `now`).

        It is expected of a free backend whose speed is not known: somebody has to find out, and those who are refused
        teach nothing.
        """
        if self._outlook.is_open(now):
            return True
        return now + self.expected_wait_s(ticket, now) + self._outlook.service_s(ticket, now) <= deadline

    def snapshot(self) -> FleetSnapshot:
        """Return everything worth showing, as plain data."""
        return FleetSnapshot(
            policy=self.policy_name,
            waiting=self.waiting,
            queue_size=self._queue.size,
            backends=tuple(BackendSnapshot.of(backend) for backend in self.backends),
            order=self._outlook.order,
            size_explains=self._sizes.explained,
        )

    def _enlist(self, spec: BackendSpec) -> Backend:
        return Backend(spec, next(self._numbers), learns=self._learns, kin=self._kin)

    def _assemble(self, backends: Sequence[Backend]) -> None:
        """Make these the members; a roster is made anew, because it keeps them by what may have changed."""
        self.backends = tuple(backends)
        self._roster = roster_for(self.policy_name, self.backends, self._rng)
        for backend in self.backends:
            self._roster.refresh(backend)
        self._outlook.take_on(self.backends)
        self._care.take_on(self.backends)

    def _push(self, ticket: Ticket, now: float) -> None:
        """Let a ticket wait in its place."""
        turn = None if ticket.is_retry else self._outlook.turn_of(ticket, self._queue, now)
        displaced = self._queue.push(ticket, turn)
        if displaced is not None:
            self._displaced.append(displaced)
        self._schedule_release(now)

    def _grant(self, ticket: Ticket, backend: Backend, now: float) -> Lease:
        """Reserve what was chosen."""
        self._grants += 1
        ticket.attempts += 1
        lease = Lease(backend, ticket, now, backend.health.era)
        backend.take(lease, self._grants)
        self._roster.refresh(backend)
        return lease

    def _schedule_release(self, now: float) -> None:
        """Note when the first in line is to be let go, if it is held."""
        due, hold_s = math.inf, self._roster.hold_s(now)
        if hold_s < math.inf and (first := self._queue.first_newcomer(now)):
            due = max(first.arrived_at + hold_s, now + SHORTEST_TIMER_S)
        self._hold_until = due

    def _react(self, backend: Backend, now: float) -> Sequence[Lease]:
        """Bring the roster up to date with the backend, then serve the queue as far as slots go."""
        if not backend.is_gone:
            self._roster.refresh(backend)
        return self._serve_queue(now) if self._queue.count else ()

    def _serve_queue(self, now: float) -> Sequence[Lease]:
        """Grant open slots in the order of the queue; a retry that may use none of them lets others pass."""
        grants: list[Lease] = []
        for ticket in self._queue.retries() if self._queue.has_retries else ():
            if not self._roster.has_open(now):
                break  # or each of a thousand retries would look at each of a thousand backends, whenever one settles
            backend = choose_untried(self.backends, self._roster, ticket, now)
            if backend is not None:
                self._queue.remove(ticket)
                grants.append(self._grant(ticket, backend, now))
        while (first := self._queue.first_newcomer(now)) is not None:
            backend = self._roster.choose(self._queue.newcomers, now - first.arrived_at, now)
            if backend is None:
                break
            self._queue.take(first)
            grants.append(self._grant(first, backend, now))
        self._schedule_release(now)
        return grants
