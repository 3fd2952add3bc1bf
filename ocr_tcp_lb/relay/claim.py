"""A request's way to a backend: ask the fleet, stand in the one queue if need be, hold the lease, settle it once."""

import math
import time

from ocr_tcp_lb.balance.lease import Lease, Ticket
from ocr_tcp_lb.balance.outcome import SERVED, Outcome
from ocr_tcp_lb.balance.queue import QueueFull
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.failures import AttemptFailed, Refusal
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.wire import wishes
from ocr_tcp_lb.wire.head import RequestHead

LONGEST_RETRY_AFTER_S = 600.0  # also said where nothing is known, as when every backend is down
ALARM_DELAY_S = 0.001  # timers may be early by less
REPLAYABLE = (Outcome.BROKE, Outcome.STALE, Outcome.SERVER_ERROR)  # not SILENT: it may still be working


class Claim(Ticket):
    """The relay's ticket: the fleet's grants come to it; it holds at most one lease at a time."""

    __slots__ = ("_at_work_s", "_hub", "client", "deadline", "is_displaced", "is_waiting", "lease")

    def __init__(self, hub: Hub, client: Client, head: RequestHead | None) -> None:
        super().__init__(time.monotonic())
        self._hub = hub
        self.client = client
        self.is_waiting = False  # in the queue, or displaced from it and not told yet
        self.is_displaced = False
        self._at_work_s = 0.0  # in attempts that failed after they had begun, which is no waiting
        self.deadline: float | None = None  # when the answer is of no more use
        self.lease: Lease | None = None
        if hub.fair_by_address:
            self.key = client.asker(head) if client.hop.trusted and head is not None else client.address
        if head is not None:
            self.size_bytes = head.content_length
            self.upgrades = bool(head.upgrade)
            if hub.fair_by_header:
                self.key = head.value(hub.fair_by_header).decode("latin-1")
            if head.has_wishes:
                self._take_wishes(head)

    def _take_wishes(self, head: RequestHead) -> None:
        patience_s = wishes.patience_s(head)
        if patience_s is not None:
            self.deadline = self.arrived_at + patience_s
        if self.client.hop.trusted:
            priority = wishes.priority(head)
            if priority is not None:
                self.priority = priority

    def ask(self) -> Lease | None:
        """Return a lease, or None: it waits (`is_waiting`). Raises Refusal: the queue is full, or it would be late."""
        if self.deadline is not None and not self._hub.fleet.can_meet(self, self.deadline, time.monotonic()):
            raise self._too_late()
        try:
            lease = self.lease = self._hub.ask(self, time.monotonic() if self.attempts else self.arrived_at)
        except QueueFull as error:
            raise self._refusal("queue_full", "every backend is busy and the queue is full") from error
        self.is_waiting = lease is None
        return lease

    def look_around(self, *, watch_client: bool) -> None:
        """While it waits, whenever the wake-up has fired: see whether waiting is still of use.

        Raises Refusal when it was displaced or has waited for too long, and ClientGone when the client leaves the
        queue; that is noticed at once with `watch_client`; while its body is still to be read only a reset is, and
        within a second.
        """
        client = self.client
        if self.is_displaced:
            raise self._refusal("queue_full", "every backend is busy, and the queue is full of others that go first")
        if client.expired or (self.deadline is not None and time.monotonic() >= self.deadline):
            raise self._too_late()
        if watch_client:
            client.notice_departure()
            client.channel.want_read()
        else:
            client.notice_reset()

    def set_alarm(self) -> None:
        """Have the wake-up fired at the request's own deadline, if it has one: the sweep is coarser."""
        if self.deadline is not None:
            self._hub.loop.call_later(self.time_left_s() + ALARM_DELAY_S, self.client.wakeup.fire)

    def give_up(self) -> None:
        """Leave the queue, or give back a lease that was granted at the last moment."""
        if self.lease is None:
            self.is_waiting = False
            if not self.is_displaced:
                self._hub.fleet.leave(self)
        else:
            self.settle(Outcome.CLIENT_LEFT)

    @property
    def waits_since(self) -> float:
        """When it would have arrived had it only waited; attempts that failed are left out."""
        return self.arrived_at + self._at_work_s

    def time_left_s(self) -> float:
        """What is left of the queue time-out, in which only waiting counts, or of the request's deadline."""
        until = self.waits_since + self._hub.config.queue.timeout_s
        if self.deadline is not None:
            until = min(until, self.deadline)
        return max(0.0, until - time.monotonic())

    def _too_late(self) -> Refusal:
        waited_s = time.monotonic() - self.waits_since
        if self.deadline is not None and waited_s < self._hub.config.queue.timeout_s:
            return self._refusal("deadline_unmet", "the answer would come later than the request's deadline")
        if not self._hub.fleet.is_ready:
            return self._refusal("no_backend", "no backend can be reached")
        return self._refusal("queue_timeout", "no backend became free in time")

    def _refusal(self, code: str, message: str) -> Refusal:
        """A 503 that says when to come back: after the wait that there would be now (RFC 9110 section 10.2.3)."""
        wait_s = self._hub.fleet.expected_wait_s(self, time.monotonic())
        return Refusal(503, code, message, max(1, math.ceil(min(wait_s, LONGEST_RETRY_AFTER_S))))

    def grant(self, lease: Lease) -> None:
        """Take the lease; called from other coroutines and from timers, so it only notes and wakes."""
        self.is_waiting = False
        self.lease = lease
        self.client.wakeup.fire_soon()

    def displace(self) -> None:
        """Take note that it had to leave the queue, for another one; called from other coroutines."""
        self.is_displaced = True
        self.client.wakeup.fire_soon()

    def settle(self, outcome: Outcome, now: float | None = None) -> None:
        """Give the lease back, with what came of it; `now` is for who knows the time."""
        lease, self.lease = self.lease, None
        assert lease is not None
        if lease.is_settled:  # a tunnel's, whose slot was given back
            return
        if now is None:
            now = time.monotonic()
        if outcome is not SERVED:
            self.note_failure(lease, outcome, now)
        self._hub.settle(lease, outcome, now)

    def note_failure(self, lease: Lease, outcome: Outcome, now: float) -> None:
        """Leave what an attempt took out of the time that was waited; knocking in vain is waiting, too."""
        if outcome is not Outcome.CONNECT_FAILED:
            self._at_work_s += now - lease.granted_at

    def may_try_another(self, failure: AttemptFailed, *, may_run_twice: bool) -> bool:
        """Whether another attempt is allowed: no harm may come from it, and somebody must be left to try.

        To be asked after the failed attempt was settled.
        """
        is_safe = failure.nothing_sent or (may_run_twice and failure.outcome in REPLAYABLE)
        return is_safe and self._hub.fleet.may_retry(self, time.monotonic()) and self.time_left_s() > 0
