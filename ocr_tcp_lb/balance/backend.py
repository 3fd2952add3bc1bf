"""One backend as the fleet sees it: the only owner of its counts, learned speed, limit and health.

`take` and `release` are called by the fleet, once each per lease. Policies and pages only read.
"""

import math
from dataclasses import dataclass
from typing import Literal

from ocr_tcp_lb.balance.health import Health, State
from ocr_tcp_lb.balance.limit import limit_for
from ocr_tcp_lb.balance.outcome import FAILURES, WHOLE_REPLIES, Outcome
from ocr_tcp_lb.balance.service_time import PeakEwma, ServiceTime


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """What the operator said about a backend."""

    name: str
    weight: float = 1.0  # 0: a reserve, used only when no other backend can take a request now
    concurrency: int | Literal["auto"] = "auto"


class Backend:
    """A backend's counts and state; compared and hashed by identity."""

    __slots__ = (
        "failed",
        "health",
        "in_flight",
        "is_draining",
        "is_reserve",
        "last_turn",
        "limiter",
        "name",
        "peak",
        "served",
        "service",
        "spec",
        "weight",
    )

    def __init__(self, spec: BackendSpec) -> None:
        assert spec.weight >= 0, "a weight is a share; it cannot be negative"
        self.spec = spec
        self.name = spec.name
        self.is_reserve = spec.weight == 0
        self.weight = spec.weight or 1.0  # reserves compete only with each other, as equals
        self.in_flight = 0
        self.served = 0
        self.failed = 0
        self.last_turn = 0  # number of the fleet's grant that came here last; breaks ties as round robin
        self.is_draining = False
        self.health = Health()
        self.limiter = limit_for(spec.concurrency)
        self.service = ServiceTime()
        self.peak = PeakEwma()

    @property
    def limit(self) -> float:
        """The most requests in flight at once, now; infinite when unbounded."""
        return self.limiter.limit

    @property
    def is_full(self) -> bool:
        """Whether every slot is taken."""
        return self.in_flight >= self.limiter.limit

    @property
    def is_in_service(self) -> bool:
        """Whether requests may come here, if not now then when a slot frees."""
        return self.health.state is not State.EJECTED and not self.is_draining

    @property
    def is_eligible(self) -> bool:
        """Whether a request may come here now: healthy and not draining and not full."""
        # `is_full` written out: this runs twice a request
        return self.health.takes_requests and not self.is_draining and self.in_flight < self.limiter.limit

    def take(self, turn: int, now: float) -> None:
        """Reserve a slot; `turn` is the number of this grant in the fleet."""
        self.in_flight += 1
        self.last_turn = turn
        if self.health.state is State.TRIAL:
            self.health.take_trial()
        self.limiter.on_grant(self.in_flight, now)

    def release(self, granted_at: float, service_s: float, outcome: Outcome, now: float) -> None:
        """Free the slot of an attempt granted at `granted_at`, count it, and learn from a good reply."""
        assert self.in_flight > 0, f"{self!r} has no slot to free"
        self.in_flight -= 1
        served = outcome is Outcome.SERVED
        if served:
            self.service.learn(service_s, now)
            self.peak.learn(service_s, now)
        if outcome in WHOLE_REPLIES:
            self.served += 1
        elif outcome in FAILURES:
            self.failed += 1
        self.limiter.on_answer(granted_at, self.in_flight, served, now)

    def __repr__(self) -> str:
        limit = self.limiter.limit
        slots = f"{self.in_flight}/{'auto' if limit == math.inf else int(limit)}"
        state = self.health.state.value + (" draining" if self.is_draining else "")
        return f"<Backend {self.name} {state} {slots} ewma={self.service.mean_s * 1000:.0f}ms>"
