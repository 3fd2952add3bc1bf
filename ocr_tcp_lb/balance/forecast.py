"""How long it will take: the wait of a request at some place in the queue, and its service, from measured times.

Slots free themselves at the rate R, the sum of slots over service time of all backends in service; the request at
place k gets the k-th, so it waits k / R. Backends not measured yet count as the mean of the measured ones. The sums are
kept for `FRESH_S`, so that a forecast for each request costs O(1).
"""

import math
from collections.abc import Sequence

from ocr_tcp_lb.balance.backend import Backend

FRESH_S = 1.0


class Forecast:
    """Estimates for one fleet, in seconds."""

    __slots__ = ("_backends", "_rate", "_service_s", "_summed_at")

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._backends = backends
        self._summed_at = -math.inf
        self._rate = 0.0
        self._service_s = 0.0

    def wait_s(self, place: float, now: float) -> float:
        """Return the wait at `place`, in mean requests (1 is next).

        Zero while nothing is measured, infinite with nobody in service.
        """
        self._sum(now)
        if self._rate:
            return place / self._rate
        return 0.0 if any(backend.is_in_service for backend in self._backends) else math.inf

    def service_s(self, now: float) -> float:
        """Return the mean service time of a request over the slots in service; 0 while nothing is measured."""
        self._sum(now)
        return self._service_s

    def _sum(self, now: float) -> None:
        if now < self._summed_at + FRESH_S:
            return
        self._summed_at = now
        slots = rate = unmeasured = 0.0
        for backend in self._backends:
            if not backend.is_in_service:
                continue
            sure = min(backend.limiter.sure, max(1, backend.in_flight))
            if backend.service.mean_s > 0:
                slots += sure
                rate += sure / backend.service.mean_s
            else:
                unmeasured += sure
        self._service_s = slots / rate if rate else 0.0
        self._rate = rate * (1 + unmeasured / slots) if slots else 0.0
