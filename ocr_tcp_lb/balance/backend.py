"""One backend as the fleet sees it: the only owner of its counts, learned speed, limit and health.

`take` and `release` are called by the fleet, once each per lease. Policies and pages only read.
"""

import math
from dataclasses import dataclass
from typing import Literal

from ocr_tcp_lb.balance.health import Health, State
from ocr_tcp_lb.balance.learned import Learned
from ocr_tcp_lb.balance.limit import InFlight, Limit, Told, Unlimited
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
        "number",
        "peak",
        "replied_at",
        "served",
        "service",
        "spec",
        "weight",
    )

    def __init__(self, spec: BackendSpec, number: int = 0, *, learns: bool = False) -> None:
        assert spec.weight >= 0, "a weight is a share; it cannot be negative"
        self.spec = spec
        self.name = spec.name
        self.number = number  # its place in the configuration
        self.is_reserve = spec.weight == 0
        self.weight = spec.weight or 1.0  # reserves compete only with each other, as equals
        self.in_flight = 0
        self.served = 0
        self.replied_at = -math.inf  # when the last whole reply ended
        self.failed = 0
        self.last_turn = 0  # number of the fleet's grant that came here last; breaks ties as round robin
        self.is_draining = False
        self.health = Health()
        self.limiter = _limit_for(spec.concurrency, learns=learns)
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

    def take(self, attempt: InFlight, turn: int) -> None:
        """Reserve a slot; `turn` is the number of this grant in the fleet."""
        self.in_flight += 1
        self.last_turn = turn
        if self.health.state is State.TRIAL:
            self.health.take_trial()
        self.limiter.on_grant(attempt, self.in_flight)

    def release(
        self,
        attempt: InFlight,
        service_s: float,
        outcome: Outcome,
        now: float,
        *,
        waiting: int = 0,
        factor: float = 1.0,
    ) -> bool:
        """Free the slot of an attempt, count it, and learn from a good reply; return whether it taught a speed.

        `factor` is how long such a request takes relative to the mean, where its size says so.
        """
        assert self.in_flight > 0, f"{self!r} has no slot to free"
        self.in_flight -= 1
        served = outcome is Outcome.SERVED
        speaks_for_speed = self.limiter.on_answer(attempt, service_s if served else None, now, waiting) and served
        if speaks_for_speed:
            self.service.learn(service_s / factor, now)
        if served:
            self.peak.learn(service_s, now)
        if outcome in WHOLE_REPLIES:
            self.served += 1
            self.replied_at = now
        elif outcome in FAILURES:
            self.failed += 1
        return speaks_for_speed

    def __repr__(self) -> str:
        limit = self.limiter.limit
        slots = f"{self.in_flight}/{'auto' if limit == math.inf else int(limit)}"
        state = self.health.state.value + (" draining" if self.is_draining else "")
        belief = f" {self.limiter.belief()}" if isinstance(self.limiter, Learned) else ""
        return f"<Backend {self.name} {state} {slots} ewma={self.service.mean_s * 1000:.0f}ms{belief}>"


def _limit_for(concurrency: int | Literal["auto"], *, learns: bool) -> Limit:
    if concurrency != "auto":
        return Told(concurrency)
    return Learned() if learns else Unlimited()
