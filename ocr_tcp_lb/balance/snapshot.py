"""What a fleet looks like at one moment, as frozen plain data for pages, metrics and tests."""

import math
from dataclasses import dataclass

from ocr_tcp_lb.balance.backend import Backend


@dataclass(frozen=True, slots=True)
class BackendSnapshot:
    """One backend at one moment."""

    name: str
    state: str  # up, ejected or trial
    is_draining: bool
    weight: float  # as configured; 0 is a reserve
    in_flight: int
    limit: float  # infinite when unbounded
    served: int
    failed: int
    service_ms: float  # learned mean; 0 before the first good reply
    sure: float = math.inf  # how many at once it is believed to work on side by side; infinite when unbounded
    belief: str = ""  # how that came about, for people
    is_silent: bool = False  # passed over, because it may hang
    gives_hope: bool = True  # a request that came now may well be served there
    tunnels: int = 0  # that go on beside what is in flight

    @classmethod
    def of(cls, backend: Backend) -> "BackendSnapshot":
        """Return what `backend` looks like now."""
        return cls(
            name=backend.name,
            state=backend.health.state.value,
            is_draining=backend.is_draining,
            weight=backend.spec.weight,
            in_flight=backend.in_flight,
            limit=backend.limit,
            served=backend.served,
            failed=backend.failed,
            service_ms=backend.service.mean_s * 1000,
            sure=backend.limiter.sure,
            belief=backend.limiter.belief(),
            is_silent=backend.is_silent,
            gives_hope=backend.gives_hope,
            tunnels=backend.tunnels,
        )


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """All backends and the queue at one moment."""

    policy: str
    waiting: int
    queue_size: int
    backends: tuple[BackendSnapshot, ...]
    order: str = "fifo"
    size_explains: float = 0.0  # share of the variance of service times that the size of requests explains
