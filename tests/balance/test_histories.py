"""Random histories of a fleet beside a model that only counts."""

import random
from collections import Counter
from collections.abc import Iterable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ocr_tcp_lb.balance import POLICIES, Backend, BackendSpec, Fleet, Lease, Outcome, QueueFull, Ticket
from ocr_tcp_lb.balance.health import State

QUEUE_SIZE = 4


class Histories(RuleBasedStateMachine):
    @initialize(
        policy=st.sampled_from(sorted(POLICIES)),
        limits=st.lists(st.sampled_from([1, 2, 3, "auto"]), min_size=1, max_size=4),
        weights=st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=4, max_size=4),
        seed=st.integers(0, 1000),
    )
    def start(self, policy: str, limits: list[int], weights: list[float], seed: int) -> None:
        specs = [
            BackendSpec(f"b{i}", weight, limit) for i, (weight, limit) in enumerate(zip(weights, limits, strict=False))
        ]
        self.fleet = Fleet(specs, policy, QUEUE_SIZE, random.Random(seed))
        self.now = 0.0
        self.leases: list[Lease] = []
        self.newcomers: list[Ticket] = []
        self.retries: list[Ticket] = []

    def granted(self, grants: Iterable[Lease]) -> None:
        for lease in grants:
            lane = self.retries if lease.ticket in self.retries else self.newcomers
            if lane is self.newcomers:
                assert lease.ticket is lane[0], "newcomers are served first come first served"
            lane.remove(lease.ticket)
            self.running(lease)

    def running(self, lease: Lease) -> None:
        untried = [b for b in self.fleet.backends if b.is_in_service and b not in lease.ticket.tried]
        is_back = lease.backend in lease.ticket.tried and lease.ticket.may_return_to(lease.backend)
        assert lease.backend not in lease.ticket.tried or not untried or is_back
        assert not lease.backend.is_draining
        assert lease.backend.health.state is not State.EJECTED
        self.leases.append(lease)

    def ask(self, ticket: Ticket) -> None:
        is_retry = ticket.is_retry
        waiting = self.fleet.waiting
        was_held = self.is_somebody_held()
        try:
            lease = self.fleet.ask(ticket, self.now)
        except QueueFull:
            assert not is_retry
            assert waiting >= QUEUE_SIZE
            return
        if lease is None:
            (self.retries if is_retry else self.newcomers).append(ticket)
        else:
            assert is_retry or not self.newcomers or was_held, "a newcomer overtook"
            self.running(lease)

    def is_somebody_held(self) -> bool:
        """Whether newcomers wait though a backend is open, for the sake of a faster one."""
        return bool(self.newcomers) and bool(self.open_now())

    def open_now(self) -> list[Backend]:
        """Who can take a request; a second probe at the same backend waits for a long queue."""
        return [b for b in self.fleet.backends if b.is_eligible and b.in_flight <= b.limiter.sure]

    @rule()
    def arrive(self) -> None:
        self.ask(Ticket(self.now))

    @precondition(lambda self: self.leases)
    @rule(
        index=st.integers(0, 99),
        outcome=st.sampled_from(Outcome),
        seconds=st.floats(0, 3),
        retry=st.booleans(),
    )
    def settle(self, index: int, outcome: Outcome, seconds: float, retry: bool) -> None:
        self.now += seconds
        lease = self.leases.pop(index % len(self.leases))
        self.granted(self.fleet.settle(lease, outcome, self.now))
        if retry and self.fleet.may_retry(lease.ticket, self.now):
            self.ask(lease.ticket)

    @precondition(lambda self: self.newcomers or self.retries)
    @rule(index=st.integers(0, 99))
    def leave(self, index: int) -> None:
        ticket = (self.newcomers + self.retries)[index % self.fleet.waiting]
        self.fleet.leave(ticket)
        (self.newcomers if ticket in self.newcomers else self.retries).remove(ticket)

    @rule(seconds=st.floats(0, 3))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.granted(self.fleet.tick(self.now))
        assert self.fleet.next_event_at > self.now

    @rule(index=st.integers(0, 3))
    def drain_or_restore(self, index: int) -> None:
        backend = self.fleet.backends[index % len(self.fleet.backends)]
        change = self.fleet.undrain if backend.is_draining else self.fleet.drain
        self.granted(change(backend, self.now))

    @invariant()
    def slots_match_the_leases_and_respect_the_limits(self) -> None:
        held = Counter(lease.backend for lease in self.leases)
        for backend in self.fleet.backends:
            assert backend.in_flight == held[backend] <= backend.limit

    @invariant()
    def nobody_waits_for_a_slot_that_is_open(self) -> None:
        assert self.fleet.waiting == len(self.newcomers) + len(self.retries)
        open_now = self.open_now()
        if self.newcomers and open_now:
            assert self.fleet.policy_name == "queue"
            slowest_s = max(b.service.mean_s for b in open_now)
            assert self.fleet.next_event_at <= self.newcomers[0].arrived_at + slowest_s, "held for ever"
            busy = [b for b in self.fleet.backends if b.in_flight and b not in open_now]
            assert any(b.service.mean_s < slowest_s for b in busy), "held for nobody"
        for ticket in self.retries:
            assert all(one in ticket.tried and not ticket.may_return_to(one) for one in open_now)

    @invariant()
    def a_trial_is_one_request(self) -> None:
        for backend in self.fleet.backends:
            if backend.health.state is State.TRIAL:
                era = backend.health.era
                assert sum(le.backend is backend and le.era == era for le in self.leases) <= 1

    def teardown(self) -> None:
        if not hasattr(self, "fleet"):
            return
        while self.leases:
            self.granted(self.fleet.settle(self.leases.pop(), Outcome.SERVED, self.now))
        assert [backend.in_flight for backend in self.fleet.backends] == [0] * len(self.fleet.backends)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # how fast the machine is says nothing of a history
