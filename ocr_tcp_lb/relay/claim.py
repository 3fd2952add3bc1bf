"""A request's way to a backend: ask the fleet, wait in the one queue if need be, hold the lease, settle it once."""

import time

from ocr_tcp_lb.balance.lease import Lease, Outcome, Ticket
from ocr_tcp_lb.balance.queue import QueueFull
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.failures import AttemptFailed, Refusal
from ocr_tcp_lb.relay.hub import Hub

RETRY_AFTER_S = 1


class Claim:
    """Owns one ticket, so the fleet's grants come here; holds at most one lease at a time."""

    __slots__ = ("_client", "_hub", "_lease", "ticket")

    def __init__(self, hub: Hub, client: Client, size_bytes: int | None) -> None:
        self._hub = hub
        self._client = client
        self._lease: Lease | None = None
        self.ticket = Ticket(self, time.monotonic(), size_bytes)

    async def obtain(self, *, watch_client: bool) -> Lease:
        """Return a lease, after a wait in the queue if need be.

        Raises Refusal when the queue is full or the wait too long, and ClientGone when the client leaves the
        queue; it is noticed only with `watch_client` (not while its body is still to be read).
        """
        hub = self._hub
        try:
            self._lease = hub.ask(self.ticket)
        except QueueFull as error:
            message = "every backend is busy and the queue is full"
            raise Refusal(503, "queue_full", message, RETRY_AFTER_S) from error
        if self._lease is None:
            await self._wait(watch_client)
        assert self._lease is not None
        return self._lease

    async def _wait(self, watch_client: bool) -> None:
        client = self._client
        client.allow(self._patience_s())
        try:
            while self._lease is None:
                if client.expired:
                    raise Refusal(503, "queue_timeout", "no backend became free in time", RETRY_AFTER_S)
                if watch_client:
                    client.notice_departure()
                    client.channel.want_read()
                await client.wakeup
        except BaseException:
            if self._lease is None:
                self._hub.fleet.leave(self.ticket)
            else:
                self.settle(Outcome.CLIENT_LEFT)
            raise

    def _patience_s(self) -> float:
        """What is left of the queue time-out, which counts from the first time the request asked."""
        waited_s = time.monotonic() - self.ticket.arrived_at
        return max(0.0, self._hub.config.queue.timeout_s - waited_s)

    def grant(self, lease: Lease) -> None:
        """The fleet's call: the waiting ticket has become this lease."""
        self._lease = lease
        self._client.wakeup.fire_soon()

    def settle(self, outcome: Outcome) -> None:
        """Give the lease back, with what came of it."""
        lease, self._lease = self._lease, None
        assert lease is not None
        self._hub.settle(lease, outcome)

    def may_try_another(self, failure: AttemptFailed, *, may_run_twice: bool) -> bool:
        """Whether another attempt is allowed: no harm may come from it, and somebody must be left to try.

        To be asked after the failed attempt was settled.
        """
        is_safe = failure.nothing_sent or (may_run_twice and failure.outcome in (Outcome.BROKE, Outcome.STALE))
        return is_safe and self._hub.fleet.may_retry(self.ticket) and self._patience_s() > 0
