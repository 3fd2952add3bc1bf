"""One backend as the fleet sees it: its counts, learned speed, limit and health.

`take` and `release` are called by the fleet, once each per lease. What else may happen to a backend is noted by who
knows of it: its health by `care`, its silence by `silence`, that it drains, has gone or gives a long reply by the
fleet. Policies and pages only read.
"""

import math
from dataclasses import dataclass
from typing import Literal

from ocr_tcp_lb.balance.health import Health, State
from ocr_tcp_lb.balance.learned import Learned
from ocr_tcp_lb.balance.limit import InFlight, Limit, Told, Unlimited
from ocr_tcp_lb.balance.outcome import FAILURES, SERVED, WHOLE_REPLIES, Outcome
from ocr_tcp_lb.balance.service_time import PeakEwma, ServiceTime
from ocr_tcp_lb.balance.sharing import Kin


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """What the operator said about a backend."""

    name: str
    weight: float = 1.0  # 0: a reserve, used only when no other backend can take a request now
    concurrency: int | Literal["auto"] = "auto"


class Backend:
    """A backend's counts and state; compared and hashed by identity."""

    __slots__ = (
        "_kin",
        "_takes_peaks",
        "failed",
        "health",
        "in_flight",
        "is_draining",
        "is_gone",
        "is_reserve",
        "is_silent",
        "last_grant",
        "learner",
        "limiter",
        "name",
        "number",
        "peak",
        "replied_at",
        "replying",
        "served",
        "service",
        "spec",
        "tunnels",
        "weight",
    )

    def __init__(self, spec: BackendSpec, number: int = 0, *, learns: bool = False, kin: Kin | None = None) -> None:
        assert spec.weight >= 0, "a weight is a share; it cannot be negative"
        self.spec = spec
        self.name = spec.name
        self.number = number  # its place in the configuration
        self.is_reserve = spec.weight == 0
        self.weight = spec.weight or 1.0  # reserves compete only with each other, as equals
        self.in_flight = 0
        self.served = 0
        self.replied_at = -math.inf  # when the last whole reply ended
        self.replying = 0  # how many in flight are long replies, tunnels or L4 connections that have begun
        self.tunnels = 0  # that go on without a slot
        self.failed = 0
        self.last_grant = 0  # number of the fleet's grant that came here last; breaks ties as round robin
        self.is_draining = False
        self.is_silent = False  # has kept a request for so long, and said nothing, that it may hang; see `silence`
        self.is_gone = False  # no member of the fleet any more; what it has runs on
        self.health = Health()
        self._kin = kin
        self.learner: Learned | None = None
        self.limiter: Limit = Unlimited()
        self._limit(learns=learns)
        self.service = ServiceTime()
        self.peak = PeakEwma()
        self._takes_peaks = not learns  # the policy that learns has no use for them

    @property
    def limit(self) -> float:
        """The most requests in flight at once, now; infinite when unbounded."""
        return self.limiter.limit

    @property
    def is_in_service(self) -> bool:
        """Whether requests may come here, if not now then when a slot frees."""
        return self.health.state is not State.EJECTED and not self.is_draining and not self.is_silent

    @property
    def gives_hope(self) -> bool:
        """Whether a request that came now may well be served here: in service, and not on a trial against the odds."""
        return self.is_in_service and self.health.gives_hope

    @property
    def is_eligible(self) -> bool:
        """Whether a request may come here now: healthy and neither draining nor silent nor full."""
        return (
            self.health.takes_requests
            and not self.is_draining
            and not self.is_silent
            and self.in_flight < self.limiter.limit
        )

    @property
    def is_free(self) -> bool:
        """Whether a request that came here now would be worked on at once, as far as is believed."""
        return self.in_flight < self.limiter.sure and self.is_eligible

    def adopt(self, spec: BackendSpec, *, learns: bool) -> None:
        """Take the operator's new word; what was learned stays, but a limit where the word on it changed."""
        had = self.spec.concurrency
        self.spec = spec
        self.name = spec.name
        self.is_reserve = spec.weight == 0
        self.weight = spec.weight or 1.0
        if spec.concurrency != had:
            self._limit(learns=learns)

    def _limit(self, *, learns: bool) -> None:
        self.learner = Learned(self._kin) if learns and self.spec.concurrency == "auto" else None
        self.limiter = self.learner or _fixed_limit(self.spec.concurrency)

    def take(self, attempt: InFlight, number: int) -> None:
        """Reserve a slot; `number` is that of this grant in the fleet."""
        self.in_flight += 1
        self.last_grant = number
        health = self.health
        if not health.is_untroubled and health.state is State.TRIAL:
            health.take_trial()
        if self.learner is not None:
            self.learner.on_grant(attempt, self.in_flight)

    def release(
        self,
        attempt: InFlight,
        service_s: float,
        outcome: Outcome,
        now: float,
        waiting: int = 0,
        factor: float = 1.0,
    ) -> bool:
        """Free the slot of an attempt, count it, and learn from a good reply; return whether it taught a speed.

        `factor` is how long such a request takes relative to the mean, where its size says so.
        """
        assert self.in_flight > 0, f"{self!r} has no slot to free"
        self.in_flight -= 1
        learner = self.learner
        if outcome is not SERVED:
            if learner is not None:
                learner.on_answer(attempt, None, now, waiting)
            self._count(outcome, now)
            return False
        self.served += 1
        self.replied_at = now
        if self._takes_peaks:
            self.peak.learn(service_s, now)
        if learner is not None and not learner.on_answer(attempt, service_s, now, waiting, factor):
            return False
        self.service.learn(service_s / factor, now)
        return True

    def _count(self, outcome: Outcome, now: float) -> None:
        if outcome in WHOLE_REPLIES:
            self.served += 1
            self.replied_at = now
        elif outcome in FAILURES:
            self.failed += 1

    def __repr__(self) -> str:
        limit = self.limiter.limit
        slots = f"{self.in_flight}/{'auto' if limit == math.inf else int(limit)}"
        state = self.health.state.value + (" draining" if self.is_draining else "")
        state += " silent" if self.is_silent else ""
        belief = f" {self.learner.belief()}" if self.learner is not None else ""
        return f"<Backend {self.name} {state} {slots} ewma={self.service.mean_s * 1000:.0f}ms{belief}>"


def _fixed_limit(concurrency: int | Literal["auto"]) -> Limit:
    return Unlimited() if concurrency == "auto" else Told(concurrency)
