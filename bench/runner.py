"""Runs workloads over peers in turns (A B C A B C), so that a busy moment of the machine meets all of them."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from bench import measure
from bench.children import Backends, Balancer, BenchError, generate_load
from bench.peers import Peer
from bench.workloads import Workload

SERVICES = 3
WARM_UP = 0.05  # of a turn's requests


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn of one peer in one workload."""

    workload: str
    peer: str
    turn: int
    requests: int
    cpu_us: float  # a request
    rate: float  # requests a second
    p50_ms: float
    p99_ms: float
    rss_mib: float
    errors: dict[str, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run; `scale` makes every turn shorter or longer."""

    workloads: Sequence[Workload]
    peers: Sequence[Peer]
    turns: int
    scale: float
    say: Callable[[str], None]


def run(plan: Plan) -> Iterator[Sample]:
    """Yield samples as they come; processes are started for each workload and ended after it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        for workload in plan.workloads:
            peers = [peer for peer in plan.peers if peer.mode == workload.mode]
            if peers:
                yield from _run_workload(plan, workload, peers, Path(directory) / workload.name)


def _run_workload(plan: Plan, workload: Workload, peers: Sequence[Peer], directory: Path) -> Iterator[Sample]:
    with ExitStack() as running:
        backends = running.enter_context(closing(Backends(SERVICES)))
        balancers: list[tuple[Peer, Balancer]] = []
        for peer in peers:
            options = workload.options if peer.name.startswith("ours") else ()
            try:
                balancer = Balancer(peer, backends.ports, directory, options)
            except BenchError as error:
                plan.say(f"{workload.name}: left out: {error}")
                continue
            balancers.append((peer, running.enter_context(closing(balancer))))
            generate_load(workload.name, balancer.port, requests_of(workload, peer, plan.scale * WARM_UP))
        for turn in range(plan.turns):
            plan.say(f"{workload.name}: turn {turn + 1} of {plan.turns}")
            for peer, balancer in balancers:
                yield _take(workload, peer, balancer, turn, requests_of(workload, peer, plan.scale))


def requests_of(workload: Workload, peer: Peer, scale: float) -> int:
    """How many requests a turn has: at least two a connection."""
    return max(2 * workload.connections, round(workload.requests * peer.share * scale))


def _take(workload: Workload, peer: Peer, balancer: Balancer, turn: int, requests: int) -> Sample:
    before_s = measure.cpu_s(balancer.pid)
    seen = generate_load(workload.name, balancer.port, requests)
    used_s = measure.cpu_s(balancer.pid) - before_s
    return Sample(
        workload.name,
        peer.name,
        turn,
        requests,
        cpu_us=1e6 * used_s / requests,
        rate=requests / seen["seconds"],
        p50_ms=seen["p50_ms"],
        p99_ms=seen["p99_ms"],
        rss_mib=measure.peak_rss_mib(balancer.pid),
        errors=seen["errors"],
    )
