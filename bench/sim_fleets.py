"""The fleets that the simulator knows, and the seeded traces of requests that they are sent.

A trace is a list of arrivals with their work, the same for every policy, so that latencies compare request by
request. Work has mean 1: service time is work times the worker's seconds.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from bench.sim_workers import Faults, WorkerSpec

BYTES_PER_WORK = 200_000  # a page scanned at 200 dpi
MEAN_WORK = 1.0
RESPONSE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a trace."""

    at: float
    work: float
    size_bytes: int
    key: str = ""
    priority: int = 5


def even(rng: random.Random) -> float:
    """Pages of much the same kind: gamma, coefficient of variation 0.5."""
    return rng.gammavariate(4.0, 0.25)


def same(rng: random.Random) -> float:
    """The same page again and again: within 5 %."""
    return rng.uniform(0.95, 1.05)


def wild(rng: random.Random) -> float:
    """Exponential: memoryless, the mathematician's favourite."""
    return rng.expovariate(1.0)


def bimodal(rng: random.Random) -> float:
    """Nine thumbnails to one large scan that takes ten times as long."""
    return (10 if rng.random() < 0.1 else 1) * rng.uniform(0.8, 1.2) / 1.9


@dataclass(frozen=True, slots=True)
class FleetCase:
    """Workers, the work that comes, and how much of the useful capacity it takes."""

    name: str
    workers: tuple[WorkerSpec, ...]
    load: float = 0.8
    work: Callable[[random.Random], float] = even
    burst: int = 0  # requests at once at the start, and again every 400 requests
    useful: float | None = None  # capacity that the load is a share of, where faults take some away

    def trace(self, seed: int, count: int) -> list[Arrival]:
        """Return `count` arrivals: Poisson, with the bursts among them."""
        rng = random.Random(f"{self.name}/{seed}")
        rate = self.load * (self.useful or sum(worker.capacity for worker in self.workers))
        now, arrivals = 0.0, []
        for index in range(count):
            if not self.burst or index % 400 >= self.burst:
                now += rng.expovariate(rate)
            work = self.work(rng)
            arrivals.append(Arrival(now, work, round(work * BYTES_PER_WORK * rng.uniform(0.9, 1.1))))
        return arrivals


def _fleets() -> dict[str, FleetCase]:
    one = WorkerSpec()
    four = replace(one, concurrency=4)
    sharing = replace(one, is_shared=True)
    mixed = tuple(WorkerSpec(0.25 * (1 + index % 4), 1 + index % 3 + index // 9) for index in range(12))
    half_time = 4000 / (0.8 * 3 / 0.25) / 2

    def broken(**faults: float) -> WorkerSpec:
        return replace(one, faults=Faults(**faults))

    cases = [
        FleetCase("equal", (one,) * 3),
        FleetCase("equal, exponential", (one,) * 3, work=wild),
        FleetCase("equal, constant", (one,) * 3, work=same),
        FleetCase("4 at once", (four,) * 3),
        FleetCase("4 at once, constant", (four,) * 3, work=same),
        FleetCase("one 3x slower", (one, one, replace(one, service_s=0.75))),
        FleetCase("one 10x slower", (one, one, replace(one, service_s=2.5))),
        FleetCase("one 10x slower, half load", (one, one, replace(one, service_s=2.5)), load=0.5),
        FleetCase("bimodal", (one,) * 3, work=bimodal),
        FleetCase("12 mixed", mixed),
        FleetCase("sharing a CPU", (sharing,) * 3),
        FleetCase("500 in 2 ms", (one, one, one, broken(errors_from=0.0)), useful=3 * one.capacity),
        FleetCase("hang", (one, one, one, broken(hangs_from=40.0)), useful=3 * one.capacity),
        FleetCase(
            "kill and return", (one, one, one, broken(dead_from=60.0, dead_until=200.0)), useful=3 * one.capacity
        ),
        FleetCase("burst", (four,) * 3, load=0.6, burst=60),
        FleetCase("drift", (one, one, one, broken(slower_from=half_time, slower_times=5.0)), useful=3.2 * one.capacity),
    ]
    return {case.name: case for case in cases}


FLEETS = _fleets()
