"""The rules by which one of several backends is chosen; each reads numbers and reserves nothing.

`pick` gets at least one candidate, each of them eligible, and returns one of them. The fleet sees to limits,
health, draining, reserves and the queue, so no policy has to. All cost O(candidates).
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from ocr_tcp_lb.balance.backend import Backend
from ocr_tcp_lb.balance.chance import Rng
from ocr_tcp_lb.balance.ranking import bucket_of

UNMEASURED_COST_S = 1e6  # Finagle's penalty: one request measures a new backend, the next ones wait for it


class Policy(Protocol):
    """A rule for choosing."""

    def pick(self, candidates: Sequence[Backend], now: float, rng: Rng) -> Backend:
        """Return one of `candidates`, which is not empty."""


class FastestFree:
    """`queue`: a believed slot before a probe, then the fastest, then the least loaded, then round robin.

    The same order as `ranking.Ranking` keeps; this is for the few requests that may use only some backends.
    """

    def pick(self, candidates: Sequence[Backend], now: float, rng: Rng) -> Backend:
        """Return the fastest candidate."""

        def key(backend: Backend) -> tuple[bool, int, float, int]:
            load = backend.in_flight / backend.limiter.sure
            service = backend.service
            service_s = service.expected_s if backend.in_flight > backend.replying else service.optimistic_s(now)
            speed = bucket_of(service_s / backend.weight)
            return load >= 1, speed, load, backend.last_grant

        return min(candidates, key=key)


class RoundRobin:
    """`round-robin`: nginx's smooth weighted round robin; with whole weights each period is exact.

    A candidate earns its weight each turn and the one chosen pays what all earned. A backend that cannot be
    chosen neither earns nor pays, so the others keep their shares of each other and it returns without a
    burst.
    """

    def __init__(self) -> None:
        self._credit: dict[Backend, float] = {}

    def pick(self, candidates: Sequence[Backend], now: float, rng: Rng) -> Backend:
        """Return the candidate with the most credit."""
        credit = self._credit
        total = 0.0
        best, best_credit = candidates[0], -math.inf
        for backend in candidates:
            total += backend.weight
            earned = credit[backend] = credit.get(backend, 0.0) + backend.weight
            if earned > best_credit:
                best, best_credit = backend, earned
        credit[best] = best_credit - total
        return best


class Random:
    """`random`: chance in proportion to weight."""

    def pick(self, candidates: Sequence[Backend], now: float, rng: Rng) -> Backend:
        """Return a candidate by lot."""
        return _draw(candidates, rng)


class LeastOutstanding:
    """`least-outstanding`: fewest in flight relative to weight, this request counted; ties round robin."""

    def pick(self, candidates: Sequence[Backend], now: float, rng: Rng) -> Backend:
        """Return the least loaded candidate."""
        best, best_load = candidates[0], math.inf
        for backend in candidates:
            load = (backend.in_flight + 1) / backend.weight
            if load < best_load or (load == best_load and backend.last_grant < best.last_grant):
                best, best_load = backend, load
        return best


class PowerOfTwo:
    """`p2c`: draw two by weight, take the less loaded relative to weight, ties to the first drawn.

    This request is not counted in the load: idle backends then tie, and get exactly the shares they are drawn
    by.
    """

    def pick(self, candidates: Sequence[Backend], now: float, rng: Rng) -> Backend:
        """Return the better of two drawn candidates, or the only one."""
        first = _draw(candidates, rng)
        if len(candidates) == 1:
            return first
        second = _draw([b for b in candidates if b is not first], rng)
        return second if second.in_flight / second.weight < first.in_flight / first.weight else first


class LowestPeakEwma:
    """`peak-ewma`: the lowest decaying peak of service time, times outstanding, over weight; all compared."""

    def pick(self, candidates: Sequence[Backend], now: float, rng: Rng) -> Backend:
        """Return the candidate that is expected to be done first."""
        best, best_cost = candidates[0], math.inf
        for backend in candidates:
            service_s = backend.peak.value_s(now)
            if not service_s and backend.in_flight:
                service_s = UNMEASURED_COST_S
            cost = service_s * (backend.in_flight + 1) / backend.weight
            if cost < best_cost or (cost == best_cost and backend.last_grant < best.last_grant):
                best, best_cost = backend, cost
        return best


def _draw(candidates: Sequence[Backend], rng: Rng) -> Backend:
    """Return one candidate with chance in proportion to its weight."""
    point = rng.random() * sum([b.weight for b in candidates])
    for backend in candidates:
        point -= backend.weight
        if point < 0:
            return backend
    return candidates[-1]  # rounding left a crumb


POLICIES: dict[str, Callable[[], Policy]] = {
    "queue": FastestFree,
    "round-robin": RoundRobin,
    "random": Random,
    "least-outstanding": LeastOutstanding,
    "p2c": PowerOfTwo,
    "peak-ewma": LowestPeakEwma,
}
