"""A request's way to a backend: ask the fleet, wait in the one queue if need be, hold the lease, settle it once."""

import time

from ocr_tcp_lb.balance.lease import Lease, Outcome, Ticket
from ocr_tcp_lb.balance.queue import QueueFull
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.failures import AttemptFailed, Refusal
from ocr_tcp_lb.relay.hub import Hub

RETRY_AFTER_S = 1


class Claim(Ticket):
    """The relay's ticket: the fleet's grants come to it; it holds at most one lease at a time."""

    __slots__ = ("_client", "_hub", "_waits", "lease")

    def __init__(self, hub: Hub, client: Client, size_bytes: int | None) -> None:
        super().__init__(None, time.monotonic(), size_bytes)
        self._hub = hub
        self._client = client
        self._waits = False
        self.lease: Lease | None = None

    async def obtain(self, *, watch_client: bool) -> Lease:
        """Return a lease, after a wait in the queue if need be; raises as `ask` and `wait` do."""
        return self.lease or (None if self._waits else self.ask()) or await self.wait(watch_client=watch_client)

    def ask(self) -> Lease | None:
        """Return a lease, or None: then `wait`. Raises Refusal when the queue is full."""
        try:
            lease = self.lease = self._hub.ask(self)
        except QueueFull as error:
            message = "every backend is busy and the queue is full"
            raise Refusal(503, "queue_full", message, RETRY_AFTER_S) from error
        self._waits = lease is None
        return lease

    async def wait(self, *, watch_client: bool) -> Lease:
        """Wait in the queue for a lease.

        Raises Refusal when that takes too long, and ClientGone when the client leaves the queue; it is noticed
        at once with `watch_client`; while its body is still to be read only a reset is, and within a second.
        """
        client = self._client
        client.allow(self._patience_s())
        try:
            while self.lease is None:
                if client.expired:
                    raise Refusal(503, "queue_timeout", "no backend became free in time", RETRY_AFTER_S)
                if watch_client:
                    client.notice_departure()
                    client.channel.want_read()
                else:
                    client.notice_reset()
                await client.wakeup
        except BaseException:
            if self.lease is None:
                self._waits = False
                self._hub.fleet.leave(self)
            else:
                self.settle(Outcome.CLIENT_LEFT)
            raise
        return self.lease

    def _patience_s(self) -> float:
        """What is left of the queue time-out, which counts from the first time the request asked."""
        return max(0.0, self._hub.config.queue.timeout_s - (time.monotonic() - self.arrived_at))

    def grant(self, lease: Lease) -> None:
        """Take the lease that the waiting ticket was granted; called from other coroutines and from timers."""
        self._waits = False
        self.lease = lease
        self._client.wakeup.fire_soon()

    def settle(self, outcome: Outcome) -> None:
        """Give the lease back, with what came of it."""
        lease, self.lease = self.lease, None
        assert lease is not None
        self._hub.settle(lease, outcome)

    def may_try_another(self, failure: AttemptFailed, *, may_run_twice: bool) -> bool:
        """Whether another attempt is allowed: no harm may come from it, and somebody must be left to try.

        To be asked after the failed attempt was settled.
        """
        is_safe = failure.nothing_sent or (may_run_twice and failure.outcome in (Outcome.BROKE, Outcome.STALE))
        return is_safe and self._hub.fleet.may_retry(self) and self._patience_s() > 0
