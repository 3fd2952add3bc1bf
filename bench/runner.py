"""Runs workloads over peers in turns (A B C A B C), so that a busy moment of the machine meets all of them.

What takes part in a workload is a contestant: a peer in one of the workload's variants. Each is a process of its own,
started before the first turn and ended after the last. One that cannot be started, or dies, is left out from then on,
and the run says so.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from bench import measure
from bench.children import Backends, Balancer, BenchError, Load
from bench.load import MOST_CONNECTIONS, Order
from bench.peers import Peer
from bench.workloads import PLENTY, Variant, Workload

WARM_UP = 0.05  # of a turn's requests
DYING_S = 1.0  # from the last reply of a process to its end
SPARE_DESCRIPTORS = 1024  # beside one for each client: connections to services, pipes, files
MOST_OF_SMOKE = 12  # clients, services or idle clients where it is only to be seen that everything runs


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn of one contestant in one workload."""

    workload: str
    variant: str
    peer: str
    turn: int
    requests: int
    cpu_us: float  # a request
    rate: float  # requests a second
    p50_ms: float
    p99_ms: float
    p999_ms: float
    rss_mib: float
    idle_kib: float | None  # memory for an idle client, where there are any
    errors: dict[str, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run; `scale` makes every turn shorter or longer, `is_smoke` everything as small as can be."""

    workloads: Sequence[Workload]
    peers: Sequence[Peer]
    turns: int
    scale: float
    is_smoke: bool
    descriptors: int  # that one process may have
    say: Callable[[str], None]
    left_out: list[str] = field(default_factory=list)  # what could not be run, or not to the end, and why

    def leave_out(self, text: str) -> None:
        """Say so now, and keep it for the report."""
        self.left_out.append(text)
        self.say(text)


@dataclass
class Contestant:
    """A peer that runs in some circumstances. Without a balancer, requests go straight to a service."""

    peer: Peer
    workload: Workload
    variant: Variant
    balancer: Balancer | None
    port: int
    idle_kib: float | None = None

    @property
    def title(self) -> str:
        return f"{self.peer.title}, {self.variant.name}" if self.variant.name else self.peer.title

    def order(self, scale: float) -> Order:
        """What the load generator is told for a turn: at least two requests a connection."""
        clients = self.workload.clients_of(self.variant)
        requests = max(2 * clients, round(self.workload.requests * self.peer.share * scale))
        rate = self.workload.rate * self.peer.share
        return Order(self.workload.name, self.port, clients, requests, rate=rate, is_direct=self.balancer is None)

    def cpu_s(self) -> float:
        """CPU time used so far."""
        return measure.cpu_s(self.balancer.pid) if self.balancer is not None else 0.0

    def take(self, turn: int, scale: float) -> Sample:
        """Take a turn; raises BenchError when it cannot be finished, or the balancer has died."""
        try:
            sample = self._measure(turn, self.order(scale))
        except (BenchError, OSError) as error:
            self._check(DYING_S)  # who has died says more than who missed it
            raise BenchError(str(error)) from error
        self._check(DYING_S if sample.errors else 0.0)
        return sample

    def _check(self, patience_s: float) -> None:
        if self.balancer is not None:
            self.balancer.check(patience_s)

    def _measure(self, turn: int, order: Order) -> Sample:
        with closing(Load(order)) as load:
            before_s = self.cpu_s()
            seen = load.send()
            used_s = self.cpu_s() - before_s
            rss_mib = measure.peak_rss_mib(self.balancer.pid) if self.balancer is not None else 0.0
        return Sample(
            self.workload.name,
            self.variant.name,
            self.peer.name,
            turn,
            order.requests,
            cpu_us=1e6 * used_s / order.requests,
            rate=order.requests / seen["seconds"],
            p50_ms=seen["p50_ms"],
            p99_ms=seen["p99_ms"],
            p999_ms=seen["p999_ms"],
            rss_mib=rss_mib,
            idle_kib=self.idle_kib,
            errors=seen["errors"],
        )


def run(plan: Plan) -> Iterator[Sample]:
    """Yield samples as they come; processes are started for each workload and ended after it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        Path(directory).chmod(0o755)  # nginx's worker may be another user
        for number, workload in enumerate(plan.workloads, 1):
            plan.say(f"{workload.name} ({number} of {len(plan.workloads)}): {workload.about}")
            peers = [peer for peer in plan.peers if peer.name in workload.peers]
            if peers:
                yield from Round(plan, shrunk(workload) if plan.is_smoke else workload, peers, Path(directory)).run()


def shrunk(workload: Workload) -> Workload:
    """The same with hardly any clients, services and requests."""
    variants = [
        replace(
            variant,
            clients=min(variant.clients, MOST_OF_SMOKE),
            services=min(variant.services, MOST_OF_SMOKE),
            idle_clients=min(variant.idle_clients, MOST_OF_SMOKE),
            concurrency=variant.concurrency if variant.concurrency == PLENTY else 1,
        )
        for variant in workload.variants
    ]
    connections = min(workload.connections, MOST_OF_SMOKE)
    return replace(workload, variants=variants, connections=connections, requests=2 * connections)


class Round:
    """One workload, from starting its contestants to ending them."""

    def __init__(self, plan: Plan, workload: Workload, peers: Sequence[Peer], directory: Path) -> None:
        self._plan = plan
        self._workload = workload
        self._peers = peers
        self._directory = directory / workload.name
        self._running = ExitStack()
        self._backends: dict[int, Backends] = {}
        self._contestants: list[Contestant] = []

    def run(self) -> Iterator[Sample]:
        """Yield the samples of all turns."""
        plan = self._plan
        with self._running:
            for variant in self._workload.variants:
                if self._has_descriptors(variant):
                    for peer in self._peers:
                        self._attempt(peer.title, partial(self._enter, peer, variant))
            for turn in range(plan.turns):
                plan.say(f"    turn {turn + 1} of {plan.turns}")
                for contestant in list(self._contestants):
                    sample = self._attempt(contestant.title, partial(contestant.take, turn, plan.scale))
                    if sample is None:
                        self._contestants.remove(contestant)
                    else:
                        yield sample

    def _attempt(self, title: str, action: Callable[[], Sample | None]) -> Sample | None:
        """Do something that may fail for reasons of the peer's; then say so, and return None."""
        try:
            return action()
        except BenchError as error:
            self._plan.leave_out(f"{self._workload.name}: {title} is left out: {error}")
            return None

    def _has_descriptors(self, variant: Variant) -> bool:
        needed = self._workload.clients_of(variant) + variant.idle_clients + SPARE_DESCRIPTORS
        if needed <= self._plan.descriptors:
            return True
        self._plan.leave_out(
            f"{self._workload.name}, {variant.name}: left out: a process needs {needed} descriptors here and may have "
            f"{self._plan.descriptors}; allow it more: ulimit -n {needed}"
        )
        return False

    def _enter(self, peer: Peer, variant: Variant) -> None:
        """Start a contestant, warm it up, and let its idle clients come."""
        if variant.services not in self._backends:
            self._backends[variant.services] = self._running.enter_context(closing(Backends(variant.services)))
        ports = self._backends[variant.services].ports
        balancer = None if peer.name == "direct" else self._start(peer, variant, ports)
        contestant = Contestant(peer, self._workload, variant, balancer, balancer.port if balancer else ports[0])
        warm_up = replace(contestant.order(self._plan.scale * WARM_UP), rate=0.0)
        if not self._plan.is_smoke:
            with closing(Load(warm_up)) as load:
                load.send()
        if variant.idle_clients and balancer is not None:
            before_mib = measure.rss_mib(balancer.pid)
            order = replace(warm_up, clients=variant.idle_clients, is_primed=True)
            self._running.enter_context(closing(Load(order)))
            contestant.idle_kib = 1024 * (measure.rss_mib(balancer.pid) - before_mib) / variant.idle_clients
        self._contestants.append(contestant)

    def _start(self, peer: Peer, variant: Variant, ports: Sequence[int]) -> Balancer:
        senders = self._workload.clients_of(variant)
        clients = senders + variant.idle_clients
        if self._workload.rate:
            clients = max(clients, MOST_CONNECTIONS)  # a moment's stall of the machine is enough to bring them
        place = {
            "clients": clients + SPARE_DESCRIPTORS // 2,
            "concurrency": variant.concurrency,
            "is_queueing": senders > variant.concurrency * variant.services,
            "logs": variant.logs,
            "options": variant.options if peer.name.startswith("ours") else (),
        }
        home = self._directory / variant.name.replace(" ", "-") / peer.name
        return self._running.enter_context(closing(Balancer(peer, ports, home, place)))
