"""A fleet with a seeded rng and a clock set by hand, and the few verbs that the tests speak in."""

import random
from collections.abc import Sequence

from ocr_tcp_lb.balance import Backend, BackendSpec, Fleet, Lease, Outcome, Ticket
from ocr_tcp_lb.balance.outlook import Order


class World:
    def __init__(
        self, *specs: BackendSpec, policy: str = "queue", queue_size: int = 1000, seed: int = 1, order: Order = "fifo"
    ) -> None:
        self.fleet = Fleet(specs, policy, queue_size, random.Random(seed), order=order)
        self.now = 0.0

    def backend(self, name: str) -> Backend:
        return next(b for b in self.fleet.backends if b.name == name)

    def ticket(self) -> Ticket:
        return Ticket(self.now)

    def lease(self, ticket: Ticket | None = None) -> Lease:
        lease = self.fleet.ask(ticket or self.ticket(), self.now)
        assert lease is not None, "expected a lease at once"
        return lease

    def wait(self, ticket: Ticket | None = None) -> Ticket:
        ticket = ticket or self.ticket()
        assert self.fleet.ask(ticket, self.now) is None, "expected to wait"
        return ticket

    def settle(self, lease: Lease, outcome: Outcome = Outcome.SERVED, after_s: float = 0.0) -> Sequence[Lease]:
        self.now += after_s
        return self.fleet.settle(lease, outcome, self.now)

    def serve(self, count: int, service_s: float = 0.0) -> list[str]:
        """Run requests one after the other; return who served each."""
        names = []
        for _ in range(count):
            lease = self.lease()
            names.append(lease.backend.name)
            self.settle(lease, after_s=service_s)
        return names

    def fail(self, name: str, *outcomes: Outcome) -> None:
        """Give the named backend these outcomes, by a lease that only it can get."""
        others = [b for b in self.fleet.backends if b.name != name and not b.is_draining]
        for outcome in outcomes:
            for other in others:
                self.fleet.drain(other, self.now)
            lease = self.lease()
            for other in others:
                self.fleet.undrain(other, self.now)
            self.settle(lease, outcome)

    def sleep_until_trial(self) -> Sequence[Lease]:
        self.now = self.fleet.next_event_at
        return self.fleet.tick(self.now)


def specs(*weights: float, concurrency: int | None = None) -> list[BackendSpec]:
    """Return backends b1, b2, ... with these weights."""
    return [BackendSpec(f"b{i}", weight, concurrency or "auto") for i, weight in enumerate(weights, start=1)]


def teach(world: World, name: str, service_s: float) -> None:
    """Let a backend's speed be known, as after many answers of `service_s`."""
    backend = world.backend(name)
    for _ in range(40):
        backend.service.learn(service_s, world.now)
        backend.peak.learn(service_s, world.now)
