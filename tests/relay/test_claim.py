"""A request's way to a backend: its place in the queue, its lease, and giving both back."""

import asyncio
import time

import pytest

from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.config import BackendConfig, FairBy, QueueConfig, Timeouts
from ocr_tcp_lb.relay.claim import Claim
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.failures import AttemptFailed, ClientGone, Refusal
from ocr_tcp_lb.relay.waiting import wait as wait_for
from ocr_tcp_lb.wire import RequestParser

from .support import Balancer, House, driven, guest, until

ONE_SLOT = [BackendConfig("b1", "127.0.0.1", 1, concurrency=1)]


class Table:
    """A balancer of one slot, which is taken, and a client that wants it."""

    def __init__(self, house: House, **config: object) -> None:
        self.lb: Balancer = house.balancer(ONE_SLOT, **config)
        self.holder = Claim(self.lb.hub, self._client(), None)
        assert self.holder.ask() is not None
        self.client: Client
        self.client, self.far = guest(self.lb)
        self.claim = Claim(self.lb.hub, self.client, None)

    def _client(self) -> Client:
        self.holding, self.far_holder = guest(self.lb)
        return self.holding

    def close(self) -> None:
        for end in (self.client, self.holding, self.far, self.far_holder):
            end.close()


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_lease_is_given_back_whatever_came_of_it(house: House, outcome: Outcome) -> None:
    table = Table(house)
    assert table.lb.in_flight() == 1
    table.holder.settle(outcome)
    assert table.lb.in_flight() == 0
    with pytest.raises(AssertionError):
        table.holder.settle(outcome)
    table.close()


async def test_waiting_claim_gets_the_slot_that_is_freed(house: House) -> None:
    table = Table(house)
    assert table.claim.ask() is None
    wait = driven(table.client.wakeup, wait_for(table.claim, watch_client=True))
    await until(lambda: table.lb.waiting == 1)
    table.holder.settle(Outcome.SERVED)
    lease = await wait
    assert lease.backend.name == "b1"
    assert table.lb.waiting == 0
    table.claim.settle(Outcome.SERVED)
    table.close()


async def test_full_queue_refuses(house: House) -> None:
    table = Table(house, queue=QueueConfig(size=0))
    with pytest.raises(Refusal) as refusal:
        table.claim.ask()
    assert (refusal.value.status, refusal.value.code) == (503, "queue_full")
    assert refusal.value.retry_after_s
    table.holder.settle(Outcome.SERVED)
    table.close()


async def test_wait_ends_in_time_and_leaves_the_queue(house: House) -> None:
    table = Table(house, queue=QueueConfig(timeout_s=0.03))
    assert table.claim.ask() is None
    with pytest.raises(Refusal) as refusal:
        await driven(table.client.wakeup, wait_for(table.claim, watch_client=True))
    assert refusal.value.code == "queue_timeout"
    assert table.lb.waiting == 0
    table.holder.settle(Outcome.SERVED)
    table.close()


async def test_client_that_breaks_off_leaves_the_queue(house: House) -> None:
    table = Table(house)
    assert table.claim.ask() is None
    table.far.close()
    with pytest.raises(ClientGone):
        await driven(table.client.wakeup, wait_for(table.claim, watch_client=True))
    assert table.lb.waiting == 0
    table.holder.settle(Outcome.SERVED)
    table.close()


async def test_cancelled_wait_leaves_the_queue(house: House) -> None:
    table = Table(house)
    assert table.claim.ask() is None
    wait = driven(table.client.wakeup, wait_for(table.claim, watch_client=True))
    await until(lambda: table.lb.waiting == 1)
    await asyncio.sleep(0)
    table.client.wakeup.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    assert table.lb.waiting == 0
    table.holder.settle(Outcome.SERVED)
    assert table.lb.in_flight() == 0
    table.close()


async def test_slot_granted_to_a_wait_that_is_cancelled_at_that_moment_is_given_back(house: House) -> None:
    table = Table(house)
    assert table.claim.ask() is None
    wait = driven(table.client.wakeup, wait_for(table.claim, watch_client=True))
    await until(lambda: table.lb.waiting == 1)
    await asyncio.sleep(0)
    table.holder.settle(Outcome.SERVED)  # grants the slot; the waiting task has not run since
    table.client.wakeup.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    assert table.lb.in_flight() == 0
    table.close()


@pytest.mark.parametrize(
    ("outcome", "nothing_sent", "may_run_twice", "allowed"),
    [
        (Outcome.CONNECT_FAILED, True, False, True),
        (Outcome.BROKE, False, False, False),
        (Outcome.BROKE, False, True, True),
        (Outcome.STALE, False, False, False),
        (Outcome.SILENT, False, True, False),
    ],
)
async def test_other_attempt_only_where_no_harm_can_come_of_it(
    house: House, outcome: Outcome, nothing_sent: bool, may_run_twice: bool, allowed: bool
) -> None:
    table = Table(house)
    table.holder.settle(outcome)
    failure = AttemptFailed(outcome, "why", nothing_sent=nothing_sent)
    assert table.holder.may_try_another(failure, may_run_twice=may_run_twice) is allowed
    table.close()


async def test_no_other_attempt_when_the_time_in_the_queue_is_used_up(house: House) -> None:
    table = Table(house, queue=QueueConfig(timeout_s=0.0001))
    table.holder.settle(Outcome.CONNECT_FAILED)
    failure = AttemptFailed(Outcome.CONNECT_FAILED, "why", nothing_sent=True)
    await until(lambda: not table.holder.may_try_another(failure, may_run_twice=True))
    table.close()


def claim_of(table: Table, *fields: bytes) -> Claim:
    lines = [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 10", *fields, b"", b""]
    return Claim(table.lb.hub, table.client, RequestParser().parse(b"\r\n".join(lines)))


def teach(table: Table, service_s: float) -> None:
    """Let the fleet believe that every request takes so long."""
    backend = table.lb.hub.fleet.backends[0]
    for _ in range(30):
        backend.service.learn(service_s, table.holder.arrived_at)


async def test_claim_knows_size_and_whose_it_is(house: House) -> None:
    table = Table(house)
    claim = claim_of(table)
    assert (claim.size_bytes, claim.key, claim.priority) == (10, "127.0.0.1", 5)
    table.holder.settle(Outcome.SERVED)
    table.close()


@pytest.mark.parametrize(
    ("fair_by", "key"),
    [(FairBy("header", "X-Api-Key"), "anna"), (FairBy("header", "X-Other"), ""), (FairBy("off"), "")],
)
async def test_the_operator_says_what_tells_clients_apart(house: House, fair_by: FairBy, key: str) -> None:
    table = Table(house, queue=QueueConfig(fair_by=fair_by))
    assert claim_of(table, b"x-api-key: anna").key == key
    table.holder.settle(Outcome.SERVED)
    table.close()


@pytest.mark.parametrize(("trusted", "priority"), [(True, 0), (False, 5)])
async def test_priority_is_taken_from_trusted_clients_only(house: House, trusted: bool, priority: int) -> None:
    table = Table(house)
    table.client.hop = table.client.hop._replace(trusted=trusted)
    assert claim_of(table, b"X-Priority: 0").priority == priority
    table.holder.settle(Outcome.SERVED)
    table.close()


@pytest.mark.parametrize("field", [b"X-Request-Deadline-Ms: 7000", b"Prefer: wait=7"])
async def test_a_deadline_that_cannot_be_met_is_refused_at_once(house: House, field: bytes) -> None:
    table = Table(house)
    teach(table, 4.0)
    with pytest.raises(Refusal) as refusal:
        claim_of(table, field).ask()
    assert (refusal.value.status, refusal.value.code) == (503, "deadline_unmet")
    assert refusal.value.retry_after_s == 4
    assert table.lb.waiting == 0
    table.holder.settle(Outcome.SERVED)
    table.close()


async def test_a_deadline_that_can_be_met_waits_and_no_longer_than_that(house: House) -> None:
    table = Table(house)
    teach(table, 0.001)
    claim = claim_of(table, b"X-Request-Deadline-Ms: 30")
    assert claim.ask() is None
    with pytest.raises(Refusal) as refusal:
        await driven(table.client.wakeup, wait_for(claim, watch_client=True))
    assert refusal.value.code == "deadline_unmet"
    assert table.lb.waiting == 0
    table.holder.settle(Outcome.SERVED)
    table.close()


async def test_retry_after_grows_with_the_queue_and_is_never_below_a_second(house: House) -> None:
    table = Table(house, queue=QueueConfig(size=1))
    teach(table, 3.0)
    assert table.claim.ask() is None
    with pytest.raises(Refusal) as refusal:
        claim_of(table).ask()
    assert refusal.value.retry_after_s == 6
    table.lb.hub.fleet.leave(table.claim)
    table.holder.settle(Outcome.SERVED)
    table.close()


async def test_retry_after_is_bounded_when_nobody_knows(house: House) -> None:
    table = Table(house, queue=QueueConfig(size=0))
    table.lb.hub.drain(table.lb.hub.fleet.backends[0])
    with pytest.raises(Refusal) as refusal:
        claim_of(table).ask()
    assert refusal.value.retry_after_s == 600
    table.holder.settle(Outcome.SERVED)
    table.close()


@pytest.mark.parametrize(
    ("outcome", "took_s", "waited_s", "left_s"),
    [
        (Outcome.BROKE, 3600.0, 1.0, 9.0),
        (Outcome.CONNECT_FAILED, 3.0, 0.0, 7.0),  # or a request would go on for ever where nobody answers a SYN
    ],
    ids=["at work", "knocking in vain"],
)
async def test_time_at_a_backend_is_no_waiting(
    house: House, outcome: Outcome, took_s: float, waited_s: float, left_s: float
) -> None:
    table = Table(house, queue=QueueConfig(timeout_s=10.0))
    lease = table.holder.lease
    assert lease is not None
    lease.granted_at -= took_s
    table.holder.arrived_at -= took_s + waited_s
    table.holder.settle(outcome)
    assert table.holder.time_left_s() == pytest.approx(left_s, abs=0.5)
    table.close()


async def test_deadline_is_kept_to_the_millisecond_and_the_queue_time_out_told_from_it(house: House) -> None:
    table = Table(house, queue=QueueConfig(timeout_s=60.0), timeouts=Timeouts(connect_s=60.0, head_s=60.0))
    table.claim.deadline = time.monotonic() + 0.02
    assert table.claim.ask() is None
    with pytest.raises(Refusal) as refusal:
        await driven(table.client.wakeup, wait_for(table.claim, watch_client=True))
    assert time.monotonic() - table.claim.deadline < 0.1, "the sweep alone would take 0.25 s"
    assert refusal.value.code == "deadline_unmet"
    table.holder.settle(Outcome.SERVED)
    table.close()
