"""An attempt that runs by itself, in its own coroutine: it sends, gathers the reply, and settles its own lease.

Whoever started it is told by `on_news` when it is ready (the reply is whole, or too long to be held) or has failed.
Then it is taken over, with connection and lease, or abandoned: its slot stays taken until its backend is done, within
the response time-out, or with `abandon=cancel` its connection is closed at once. The lease is settled exactly once:
by the one who took it over, or here, on cancellation too.
"""

import logging
import time
from collections.abc import Callable

from ocr_tcp_lb.balance.lease import Lease
from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.relay.answer import MOST_INTERIM_REPLIES
from ocr_tcp_lb.relay.attempt import opening_of
from ocr_tcp_lb.relay.buffers import scratch_view
from ocr_tcp_lb.relay.connecting import connect
from ocr_tcp_lb.relay.deadlines import NEVER
from ocr_tcp_lb.relay.failures import AttemptFailed, SinkBroke
from ocr_tcp_lb.relay.flow import FIRST_READ_BYTES
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.readiness import Wakeup
from ocr_tcp_lb.relay.request import Begun, Request
from ocr_tcp_lb.relay.upstream import BackendConnection
from ocr_tcp_lb.wire.boundary import reply_head_end
from ocr_tcp_lb.wire.errors import ReplyError
from ocr_tcp_lb.wire.framing import Framing
from ocr_tcp_lb.wire.head import ReplyHead

log = logging.getLogger(__name__)


class Runner:
    """One attempt with its lease; guarded by the deadline sweep."""

    def __init__(self, hub: Hub, request: Request, lease: Lease, on_news: Callable[[], None]) -> None:
        self.lease = lease
        self.wakeup = Wakeup(hub.loop)
        self.deadline = NEVER
        self.expired = False
        self.is_ready = False  # to be taken over
        self.is_over = False  # taken over, or its lease is settled
        self.failure: AttemptFailed | None = None
        self.reply: ReplyHead | None = None  # the final one
        self.connected_at = 0.0
        self._hub = hub
        self._request = request
        self._upstream = hub.upstreams[lease.backend]
        self._on_news = on_news
        self._is_abandoned = False
        self._connection: BackendConnection | None = None
        self._sent = 0  # the bytes of the request, once it was sent whole
        self._data = bytearray()
        self._body_at = 0  # in `_data`: where the next head begins, and the body behind the final one
        self._interim_replies = 0
        self._reserved = 0  # bytes of memory that are counted

    def begin(self) -> None:
        """Connect, and send the request."""
        self._hub.runner_wakeups.add(self.wakeup)
        self.wakeup.drive(self._run(), lambda: None)

    def go_on(self, connection: BackendConnection, sent: int, connected_at: float, left_s: float) -> None:
        """Go on with an attempt that has sent all of the request and received nothing."""
        self._connection, self._sent, self.connected_at = connection, sent, connected_at
        connection.channel.wakeup = self.wakeup
        self._allow(left_s)
        self.begin()

    def take_over(self, wakeup: Wakeup) -> Begun:
        """Hand out the connection, and what came; the lease is the caller's now, and `close` too."""
        assert self.is_ready
        assert self._connection is not None
        self.is_over = True
        connection, self._connection = self._connection, None
        connection.channel.wakeup = wakeup
        return Begun(connection, self._sent, bytes(self._data))

    def abandon(self, outcome: Outcome = Outcome.CLIENT_LEFT) -> None:
        """Nobody wants the reply any more; safe at any time."""
        self._is_abandoned = True
        if self.is_over:
            return
        if self.is_ready:
            self._end(outcome)
        elif self.reply is not None or not self._sent or self._upstream.config.abandon == "cancel":
            self.wakeup.cancel()

    def close(self) -> None:
        """Give up the memory for the reply; safe at any time."""
        self._hub.runner_wakeups.discard(self.wakeup)
        self._hub.slabs.release(self._reserved)
        self._reserved = 0

    async def _run(self) -> None:
        outcome = Outcome.CLIENT_LEFT
        self._hub.deadlines.guard(self)
        try:
            if self._connection is None:
                self._connection = await self._connect()
                await self._send(self._connection)
            await self._gather(self._connection)
            self.is_ready = not self._is_abandoned
        except AttemptFailed as failure:
            self.failure, outcome = failure, failure.outcome
        except LoadBalancerError as error:  # out of descriptors: our fault, not the backend's
            self.failure = AttemptFailed(outcome, str(error), nothing_sent=True)
        except Exception as error:
            log.exception("unexpected error in an attempt on backend %s", self.lease.backend.name)
            self.failure = AttemptFailed(outcome, str(error))
        finally:
            self._hub.deadlines.release(self)
            if not self.is_ready:
                self._end(outcome)
            if not self._is_abandoned:
                self._on_news()

    def _end(self, outcome: Outcome) -> None:
        self.is_over = True
        if self._connection is not None:
            self._connection.channel.close()
        self.close()
        self._hub.settle(self.lease, outcome, time.monotonic())

    def _allow(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.expired = False

    async def _wait(self) -> None:
        await self.wakeup
        if self.expired:
            raise AttemptFailed.by_silence(self._upstream.name)

    async def _connect(self) -> BackendConnection:
        """A new connection: one that was idle may be stale, and to find that out is not worth it here."""
        self._allow(self._hub.timeouts.connect_s)
        connection = await connect(self._upstream, self.wakeup, lambda: self.expired)
        self.connected_at = time.monotonic()
        return connection

    async def _send(self, connection: BackendConnection) -> None:
        upload, channel = self._request.upload, connection.channel
        upload.start(opening_of(self._hub, self._request, self._upstream))
        while True:
            before = upload.bytes_sent
            try:
                upload.pump(channel, self._hub.pipes)
            except SinkBroke as error:
                raise self._broke(str(error)) from error
            if upload.bytes_sent > before:
                self._allow(self._hub.timeouts.idle_s)
            if upload.over:
                break
            channel.want_write()
            await self._wait()
        self._sent = upload.bytes_sent
        self._allow(self._hub.timeouts.response_s)

    async def _gather(self, connection: BackendConnection) -> None:
        """Return when the reply is whole, or too long to be held; for nobody, when it begins."""
        channel = connection.channel
        while not self._has_enough():
            while not channel.readable:
                channel.want_read()
                await self._wait()
            try:
                received = channel.receive_into(scratch_view[:FIRST_READ_BYTES])
            except OSError as error:
                raise self._broke(str(error)) from error
            if received is None:
                continue
            if received == 0:
                raise self._broke("the connection was closed inside the reply")
            self._data += scratch_view[:received]
            self._allow(self._hub.timeouts.response_s)

    def _has_enough(self) -> bool:
        if self.reply is None:
            self.reply = self._final_head()
            if self.reply is None:
                return False
            self.lease.answered_at = time.monotonic()
            if self._is_abandoned:
                self._hub.fleet.patience.note(self.lease.answered_at - self.lease.granted_at)
            if self._is_abandoned or not self._may_be_held(self.reply):
                return True
        return len(self._data) - self._body_at >= self.reply.content_length

    def _final_head(self) -> ReplyHead | None:
        try:
            while end := reply_head_end(self._data[self._body_at :], self._hub.limits.head_bytes):
                head = bytes(self._data[self._body_at : self._body_at + end])
                reply = self._hub.replies.parse(head, self._request.head.method)
                self._body_at += end
                if reply.is_final:
                    return reply
                self._interim_replies += 1
                if self._interim_replies > MOST_INTERIM_REPLIES:
                    raise self._broke("too many interim replies")
        except ReplyError as error:
            raise self._broke(error.message) from error
        return None

    def _may_be_held(self, reply: ReplyHead) -> bool:
        """Whether to wait for the rest: the reply tells its length, and there is room for it."""
        if reply.framing is Framing.NONE:
            return True
        size = reply.content_length
        if reply.framing is not Framing.LENGTH or size > self._hub.limits.reply_buffer_bytes:
            return False
        if not self._hub.slabs.reserve(size):
            return False
        self._reserved = size
        return True

    def _broke(self, reason: str) -> AttemptFailed:
        return AttemptFailed(Outcome.BROKE, f"{self._upstream.name}: {reason}")
