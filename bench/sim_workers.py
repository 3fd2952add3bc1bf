"""Simulated workers: what a backend does with the requests that it was sent, in simulated time.

A worker is told of each job (`start`) and calls `engine.answer` when it is done. `Slots` serves N at once and keeps
the rest in its own backlog, as a web server does; `Shared` serves all at once, each more slowly, as threads on one
CPU or GPU do. Faults are a property of time: `Faults` says what the worker does to a job that starts now.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ocr_tcp_lb.balance import Outcome

ERROR_REPLY_S = 0.002
REFUSAL_S = 0.0002


@dataclass(frozen=True, slots=True)
class Faults:
    """When a worker misbehaves, in seconds of simulated time."""

    errors_from: float = math.inf  # answers 500 in 2 ms
    hangs_from: float = math.inf  # takes requests and says nothing
    dead_from: float = math.inf  # killed: connections break, new ones are refused
    dead_until: float = math.inf
    slower_from: float = math.inf  # drift
    slower_times: float = 1.0

    def are_refusing(self, now: float) -> bool:
        return self.dead_from <= now < self.dead_until

    def slowness(self, now: float) -> float:
        return self.slower_times if now >= self.slower_from else 1.0

    def is_useless(self, now: float) -> bool:
        """Whether an all-knowing scheduler would send nothing here."""
        return self.are_refusing(now) or now >= min(self.errors_from, self.hangs_from)


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker: seconds for a request of work 1, how many at once, and whether those share the same CPU."""

    service_s: float = 0.25
    concurrency: int = 1
    is_shared: bool = False  # `concurrency` requests use the capacity fully; more only share it
    faults: Faults = Faults()

    @property
    def capacity(self) -> float:
        """Requests of work 1 a second."""
        return self.concurrency / self.service_s


class Engine(Protocol):
    """What a worker needs of the simulation."""

    now: float

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call later, in simulated time."""

    def answer(self, job: "Job", outcome: Outcome) -> None:
        """The job's attempt has ended so."""


@dataclass(slots=True, eq=False)
class Job:
    """One attempt at a worker."""

    lease: object
    work: float
    is_over: bool = False  # answered, broken or given up by the balancer


class Worker:
    """What all workers share: faults, and the bookkeeping of what is here."""

    def __init__(self, spec: WorkerSpec, engine: Engine) -> None:
        self.spec = spec
        self.engine = engine
        self.here: dict[Job, None] = {}
        if spec.faults.dead_from < math.inf:
            engine.at(spec.faults.dead_from, self._die)

    def start(self, job: Job) -> None:
        """Take a job, or refuse it."""
        now, faults = self.engine.now, self.spec.faults
        self.here[job] = None
        if faults.are_refusing(now):
            self.engine.at(now + REFUSAL_S, lambda: self._end(job, Outcome.CONNECT_FAILED))
        elif now >= faults.errors_from:
            self.engine.at(now + ERROR_REPLY_S, lambda: self._end(job, Outcome.SERVER_ERROR))
        elif now < faults.hangs_from:
            self._work(job)

    def give_up(self, job: Job) -> None:
        """The balancer's time-out has passed."""
        if not job.is_over:
            self._end(job, Outcome.SILENT)

    def _work(self, job: Job) -> None:
        raise NotImplementedError

    def _end(self, job: Job, outcome: Outcome) -> None:
        if not job.is_over:
            job.is_over = True
            del self.here[job]
            self.engine.answer(job, outcome)

    def _die(self) -> None:
        for job in list(self.here):
            self._end(job, Outcome.BROKE)


class Slots(Worker):
    """N at once, first come first served; what comes on top waits here."""

    def __init__(self, spec: WorkerSpec, engine: Engine) -> None:
        super().__init__(spec, engine)
        self._running: set[Job] = set()
        self._backlog: deque[Job] = deque()

    def _work(self, job: Job) -> None:
        if len(self._running) >= self.spec.concurrency:
            self._backlog.append(job)
            return
        self._running.add(job)
        now = self.engine.now
        service_s = job.work * self.spec.service_s * self.spec.faults.slowness(now)
        self.engine.at(now + service_s, lambda: self._done(job))

    def _done(self, job: Job) -> None:
        if job.is_over:
            return
        self._running.discard(job)
        while self._backlog and len(self._running) < self.spec.concurrency:
            following = self._backlog.popleft()
            if not following.is_over:
                self._work(following)
        self._end(job, Outcome.SERVED)  # last: the balancer may send the next one at once, and that is not first

    def _die(self) -> None:
        self._running.clear()
        self._backlog.clear()
        super()._die()


class Shared(Worker):
    """Processor sharing: up to `concurrency` run at full speed, more divide that speed evenly."""

    def __init__(self, spec: WorkerSpec, engine: Engine) -> None:
        super().__init__(spec, engine)
        self._left_s: dict[Job, float] = {}
        self._updated_at = 0.0
        self._version = 0

    def _work(self, job: Job) -> None:
        self._advance()
        self._left_s[job] = job.work * self.spec.service_s
        self._schedule()

    def _share(self) -> float:
        return min(1.0, self.spec.concurrency / max(1, len(self._left_s)))

    def _advance(self) -> None:
        done_s = (self.engine.now - self._updated_at) * self._share()
        for job in self._left_s:
            self._left_s[job] -= done_s
        self._updated_at = self.engine.now

    def _schedule(self) -> None:
        self._version += 1
        version = self._version
        if self._left_s:
            when = self.engine.now + max(0.0, min(self._left_s.values())) / self._share()
            self.engine.at(when, lambda: self._done(version))

    def _done(self, version: int) -> None:
        """The soonest is done, unless somebody came or left since."""
        if version != self._version:
            return
        self._advance()
        done = [job for job, left_s in self._left_s.items() if left_s <= 1e-9]
        for job in done:
            del self._left_s[job]
        self._schedule()
        for job in done:
            self._end(job, Outcome.SERVED)

    def _die(self) -> None:
        self._left_s.clear()
        super()._die()
