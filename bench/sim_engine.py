"""The simulation itself: a clock, a heap of events, the requests' lives, and the ideal to compare with.

`Simulation.run` runs one trace through one scheduler and returns what each request saw. A scheduler is `Fleet` itself,
or `Ideal`: one central FIFO queue that knows every worker's true speed, concurrency and health, and gives the first in
line to the fastest free worker. Nothing sleeps, and the same seed gives the same run.
"""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

from bench.sim_fleets import RESPONSE_TIMEOUT_S, Arrival, FleetCase
from bench.sim_workers import Job, Shared, Slots, Worker, WorkerSpec
from ocr_tcp_lb.balance import Lease, Outcome, Ticket

LOST_S = 100_000.0  # no trace and no backlog lasts for a day
REVIEW_S = 0.25  # how often the relay lets the fleet look for backends that fell silent


class Named(Protocol):
    """A backend, as far as the engine cares."""

    name: str


class Grant(Protocol):
    """A lease, as far as the engine cares."""

    @property
    def backend(self) -> Named: ...

    @property
    def ticket(self) -> Ticket: ...


class Scheduler(Protocol):
    """What the engine asks; `Fleet` satisfies it."""

    def ask(self, ticket: Ticket, now: float) -> Grant | None: ...
    def settle(self, lease: Lease, outcome: Outcome, now: float) -> Sequence[Grant]: ...
    def tick(self, now: float) -> Sequence[Grant]: ...
    @property
    def next_event_at(self) -> float: ...
    def may_retry(self, ticket: Ticket, now: float) -> bool: ...
    def review(self, now: float) -> Sequence[Grant]: ...


@dataclass(slots=True, eq=False)
class Request:
    """One request and what became of it."""

    arrival: Arrival
    done_at: float = math.nan
    outcome: Outcome | None = None

    @property
    def latency_s(self) -> float:
        return self.done_at - self.arrival.at


def worker_name(index: int) -> str:
    return f"w{index}"


class Simulation:
    """One run: the clock and everything that happens in it."""

    def __init__(self, workers: Sequence[WorkerSpec], scheduler: Scheduler) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._scheduler = scheduler
        self._tick_at = math.inf
        self._unfinished = 0
        self._requests: dict[Ticket, Request] = {}
        self.workers: dict[str, Worker] = {
            worker_name(i): (Shared if spec.is_shared else Slots)(spec, self) for i, spec in enumerate(workers)
        }

    def at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), call))

    def run(self, trace: Sequence[Arrival]) -> list[Request]:
        """Let every request of the trace arrive, and go on until all have ended."""
        requests = [Request(arrival) for arrival in trace]
        for request in requests:
            self.at(request.arrival.at, lambda request=request: self._arrive(request))  # type: ignore[misc]
        self._unfinished = len(requests)
        self.at(REVIEW_S, self._review)
        while self._unfinished:
            assert self.now < LOST_S, f"{self._unfinished} requests were lost"
            self.now, _, call = heapq.heappop(self._events)
            call()
        return requests

    def _arrive(self, request: Request) -> None:
        arrival = request.arrival
        ticket = Ticket(self.now, arrival.size_bytes)
        self._requests[ticket] = request
        self._ask(ticket)

    def _ask(self, ticket: Ticket) -> None:
        lease = self._scheduler.ask(ticket, self.now)
        if lease is not None:
            self._start(lease)
        self._arm_tick()

    def _start(self, lease: Grant) -> None:
        request = self._requests[lease.ticket]
        job = Job(lease, request.arrival.work)
        worker = self.workers[lease.backend.name]
        if self.now >= worker.spec.faults.hangs_from:
            self.at(self.now + RESPONSE_TIMEOUT_S, lambda: worker.give_up(job))
        worker.start(job)

    def answer(self, job: Job, outcome: Outcome) -> None:
        """Settle as the relay does: what did no harm is tried again, anything else is the client's answer."""
        lease = cast(Lease, job.lease)
        granted = self._scheduler.settle(lease, outcome, self.now)
        for lease_granted in granted:
            self._start(lease_granted)
        is_harmless = outcome in (Outcome.CONNECT_FAILED, Outcome.BROKE, Outcome.STALE)
        if is_harmless and self._scheduler.may_retry(lease.ticket, self.now):
            self._ask(lease.ticket)
        else:
            request = self._requests[lease.ticket]
            assert request.outcome is None, "a request ends once"
            request.done_at, request.outcome = self.now, outcome
            self._unfinished -= 1
        self._arm_tick()

    def _review(self) -> None:
        for lease in self._scheduler.review(self.now):
            self._start(lease)
        self._arm_tick()
        self.at(self.now + REVIEW_S, self._review)

    def _arm_tick(self) -> None:
        due = self._scheduler.next_event_at
        if due < self._tick_at:
            self._tick_at = due
            self.at(due, lambda: self._tick(due))

    def _tick(self, due: float) -> None:
        if due == self._tick_at:
            self._tick_at = math.inf
            for lease in self._scheduler.tick(self.now):
                self._start(lease)
            self._arm_tick()


@dataclass(slots=True, eq=False)
class _Slot:
    """What the ideal knows of a worker: everything."""

    name: str
    spec: WorkerSpec
    in_flight: int = 0


@dataclass(slots=True, eq=False)
class _IdealLease:
    backend: _Slot
    ticket: Ticket


@dataclass(slots=True, eq=False)
class Ideal:
    """The all-knowing central FIFO queue, fastest free worker first."""

    case: FleetCase
    _slots: list[_Slot] = field(init=False)
    _queue: deque[Ticket] = field(default_factory=deque)
    _wakes: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self._slots = [_Slot(worker_name(i), spec) for i, spec in enumerate(self.case.workers)]
        returns = {slot.spec.faults.dead_until for slot in self._slots}
        self._wakes = sorted(when for when in returns if when < math.inf)

    def ask(self, ticket: Ticket, now: float) -> _IdealLease | None:
        slot = self._fastest(now)
        if slot is not None:
            return self._grant(slot, ticket)
        (self._queue.appendleft if ticket.is_retry else self._queue.append)(ticket)
        return None

    def settle(self, lease: _IdealLease, outcome: Outcome, now: float) -> list[_IdealLease]:
        lease.backend.in_flight -= 1
        return self._serve(now)

    def tick(self, now: float) -> list[_IdealLease]:
        self._wakes = [when for when in self._wakes if when > now]
        return self._serve(now)

    @property
    def next_event_at(self) -> float:
        return self._wakes[0] if self._wakes else math.inf

    def may_retry(self, ticket: Ticket, now: float) -> bool:
        return True

    def review(self, now: float) -> list[_IdealLease]:
        return []

    def _serve(self, now: float) -> list[_IdealLease]:
        grants = []
        while self._queue and (slot := self._fastest(now)):
            grants.append(self._grant(slot, self._queue.popleft()))
        return grants

    def _grant(self, slot: _Slot, ticket: Ticket) -> _IdealLease:
        slot.in_flight += 1
        ticket.attempts += 1
        return _IdealLease(slot, ticket)

    def _fastest(self, now: float) -> _Slot | None:
        free = [
            slot
            for slot in self._slots
            if slot.in_flight < slot.spec.concurrency and not slot.spec.faults.is_useless(now)
        ]
        return min(free, key=lambda slot: slot.spec.service_s * slot.spec.faults.slowness(now), default=None)
