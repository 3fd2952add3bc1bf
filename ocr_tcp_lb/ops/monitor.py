"""Looks at the running balancer four times a second: event-loop lag, and every two seconds a point of history.

The counters it gets from the `Intake`. The timer is the only work it makes between two scrapes; it takes 10 us a look.
"""

import time
from collections import Counter
from dataclasses import dataclass

from ocr_tcp_lb.balance.backend import Backend
from ocr_tcp_lb.ops.histogram import LAG_BOUNDS_S, Histogram
from ocr_tcp_lb.ops.history import STEP_S, History, Totals
from ocr_tcp_lb.ops.intake import Intake
from ocr_tcp_lb.ops.systemd import Notifier
from ocr_tcp_lb.ops.tally import Tally
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.server import Server

LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class About:
    """What runs here."""

    version: str
    loop: str
    python: str
    mode: str
    started_at: float  # wall clock


class Monitor:
    """Everything that pages and metrics are made of: the rooms to look into, and what was noted over time."""

    def __init__(
        self,
        hub: Hub,
        server: Server,
        intake: Intake,
        about: About,
        notifier: Notifier | None = None,
    ) -> None:
        self.hub = hub
        self.server = server
        self.intake = intake
        self.about = about
        self._notifier = notifier
        self.lag = Histogram(LAG_BOUNDS_S)
        self.history = History()
        self.ejections: Counter[str] = Counter()  # by backend
        self._counted: dict[Backend, int] = {}  # how many of its ejections are in `ejections`
        self._longest_lag_s = 0.0
        self._deepest_queue = 0
        self._step_began = hub.loop.time()
        self._timer = hub.loop.call_later(LOOK_S, self._look)

    @property
    def tally(self) -> Tally:
        """The counters as they stand now."""
        return self.intake.tally

    @property
    def in_flight(self) -> int:
        """Requests at backends now."""
        return sum(backend.in_flight for backend in self.hub.fleet.backends)

    @property
    def is_ready(self) -> bool:
        """Whether a request that came now would be taken and could be served."""
        return not self.hub.is_draining and self.hub.fleet.is_ready

    def summary(self) -> str:
        """One line for `systemctl status`; it changes only when something did that matters."""
        backends = self.hub.fleet.backends
        in_service = sum(backend.gives_hope for backend in backends)
        waiting = f", {self.hub.fleet.waiting} waiting" if self.hub.fleet.waiting else ""
        return f"{in_service} of {len(backends)} backends in service{waiting}"

    def _look(self) -> None:
        now = self.hub.loop.time()
        lag_s = max(0.0, now - self._timer.when())
        self.lag.add(lag_s)
        self._longest_lag_s = max(self._longest_lag_s, lag_s)
        self._deepest_queue = max(self._deepest_queue, self.hub.fleet.waiting)
        self._count_ejections()
        if now - self._step_began >= STEP_S:
            self.end_step(now)
            if self._notifier is not None and not self.hub.is_draining:
                self._notifier.say(self.summary())
        self._timer = self.hub.loop.call_later(LOOK_S, self._look)

    def _count_ejections(self) -> None:
        """By name, so that they only grow when another backend takes the place of one."""
        before, self._counted = self._counted, {}
        for backend in self.hub.fleet.backends:
            self._counted[backend] = backend.health.ejections
            self.ejections[backend.name] += backend.health.ejections - before.get(backend, 0)

    def end_step(self, now: float) -> None:
        """Make a point of what was seen since the last one; `now` is the loop's time."""
        tally = self.tally
        self.history.add(
            at=time.time(),
            passed_s=max(now - self._step_began, 1e-3),
            totals=Totals(tally.requests, tally.errors, tally.duration_counts()),
            waiting=self._deepest_queue,
            in_flight=self.in_flight,
            lag_s=self._longest_lag_s,
        )
        self._step_began = now
        self._longest_lag_s = 0.0
        self._deepest_queue = 0

    def close(self) -> None:
        """Stop looking."""
        self._timer.cancel()


def seconds_up(about: About) -> float:
    """How long it has been running, in seconds."""
    return max(0.0, time.time() - about.started_at)
