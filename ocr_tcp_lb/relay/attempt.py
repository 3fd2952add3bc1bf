"""One try on one backend: connect, then pump both ways until the reply has ended by its framing.

One wake-up serves both sockets: whichever turns readable or writable wakes the same coroutine, which moves
whatever can move. So an upload that is still running, an early reply, a client that leaves and a backend that
closes are all seen by the same few lines.

`run` ends with an Outcome, or raises: AttemptFailed (no byte of a final reply reached the client), ReplyBroken
(some did), ClientGone, RequestError (the body turned out malformed, too large or too slow), Refusal (no descriptor or
port is left, or the backend never asked for the body).
"""

import time

from ocr_tcp_lb.balance.outcome import Outcome, outcome_of
from ocr_tcp_lb.relay.answer import Answer
from ocr_tcp_lb.relay.connecting import connect
from ocr_tcp_lb.relay.failures import AttemptFailed, ClientGone, SinkBroke, SourceBroke
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.introduction import header_for
from ocr_tcp_lb.relay.request import Begun, Request
from ocr_tcp_lb.relay.talk import carry
from ocr_tcp_lb.relay.tunnel import Tunnel
from ocr_tcp_lb.relay.turns import Turns
from ocr_tcp_lb.relay.upstream import BackendConnection, Upstream, may_be_kept
from ocr_tcp_lb.wire.head import SWITCHING_PROTOCOLS

LET_DIE_S = 0.005  # of 850 workers killed under load, 3 cost a request more than they had slots; with it none of 400


def opening_of(hub: Hub, request: Request, upstream: Upstream) -> bytes:
    """What a connection to this backend begins with: the request's head, and before it who the client is, if asked."""
    head = request.head
    target = hub.router.rewritten(head, upstream.path)
    expect = head.expects_continue and request.passes_expectation
    message = head.forwarded(target, request.client.hop, request.record.request_id, expect=expect)
    return header_for(request.client, upstream.config.send_proxy) + message


class Attempt:
    """One attempt; the caller holds the lease, and closes the attempt when it has ended."""

    client_persists = False
    _connection: BackendConnection | None = None
    _answer: Answer | None = None
    _deaf = False  # the backend takes no more of the request; its reply may still come

    def __init__(self, hub: Hub, request: Request, upstream: Upstream, turns: Turns | None = None) -> None:
        self._hub = hub
        self._request = request
        self._upstream = upstream
        self._turns = turns or Turns(hub, request, upstream.name)

    async def run(self, begun: Begun | None = None) -> Outcome:
        """Carry the request to the backend and its reply to the client.

        An idle connection that proves stale is replaced by a new one, if the request may be sent again. With
        `begun`, the attempt is under way: the upload has started, and something, perhaps, was received.
        """
        if begun is not None:
            return await self._run(begun.connection, begun)
        request = self._request
        can_be_sent_again = not request.upload.streams
        return await self._run(self._upstream.take(request.client.wakeup, can_be_sent_again=can_be_sent_again))

    async def _run(self, connection: BackendConnection | None, begun: Begun | None = None) -> Outcome:
        request = self._request
        while True:
            if connection is None:
                connection = await self._connect()
            self._connection = connection
            self._turns.begin()
            self._answer = None  # until something is sent on this connection
            opening = b"" if begun is not None else opening_of(self._hub, request, self._upstream)
            answer = self._answer = Answer(self._hub, request, connection)
            request.record.connected = time.monotonic() if begun is None else request.record.leased
            try:
                if begun is None:
                    request.upload.start(opening)
                else:
                    self._take_up(begun, answer)
                begun = None
                while not self._pump(connection, answer):
                    await request.client.wakeup
                    if request.client.expired:
                        self._turns.end(answer, self._deaf)
                return await self._finish(connection, answer)
            except AttemptFailed as failure:
                if failure.outcome is not Outcome.STALE and failure.outcome is not Outcome.BROKE:
                    raise
                answer.close()
                connection.channel.close()
                self._connection = None
                if not failure.nothing_sent:
                    await self._let_die()
                if failure.outcome is Outcome.BROKE:
                    raise
                if not ((failure.nothing_sent or request.may_run_twice) and request.upload.is_replayable):
                    raise
                connection = None
                self._deaf = False

    async def _let_die(self) -> None:
        """Keep the slot for a moment: a process that was killed closes its connections one by one, in microseconds.

        One that held an unread request cannot be told from one that was closed as idle. The others tell, as the
        listening one does; till then, nothing more is to be sent there. That goes above all for the last backend in
        service, which breaking does not eject: the next attempt, or whoever waits for the slot, would fail there, too.
        """
        client = self._request.client
        client.allow(self._hub.timeouts.connect_s)
        self._hub.loop.call_later(LET_DIE_S, client.wakeup.fire)
        await client.wakeup

    def _take_up(self, begun: Begun, answer: Answer) -> None:
        """Go on with what was begun elsewhere."""
        if self._request.client.expired:
            raise AttemptFailed.by_silence(self._upstream.name)
        begun.connection.channel.readable = True
        if begun.data:
            answer.take_in(begun.data)

    async def _connect(self) -> BackendConnection:
        client = self._request.client

        def has_expired() -> bool:
            self._look_for_client()  # of who leaves now, nothing is to be sent
            return client.expired

        client.allow(self._hub.timeouts.connect_s)
        return await connect(self._upstream, client.wakeup, has_expired)

    def _look_for_client(self) -> None:
        """Notice a client that has left before its reply; not behind a body that is still to be read."""
        client = self._request.client
        if client.channel.readable and not self._request.upload.streams:
            client.notice_departure()

    def _pump(self, connection: BackendConnection, answer: Answer) -> bool:
        """Move what can move, in both directions; True when the reply has ended, else the wake-up is set."""
        request, upload = self._request, self._request.upload
        more = False
        if answer.reply is None:
            self._look_for_client()
        if not upload.over and not self._deaf:
            streamed = upload.streams
            try:
                more = upload.pump(connection.channel, self._hub.pipes)
            except SinkBroke:
                self._deaf = True
                connection.channel.readable = True  # a reply, or the reason, is there now
            except SourceBroke as error:
                raise ClientGone(str(error)) from error
            if upload.over:
                request.client.inbox += upload.take_surplus()
                if streamed and answer.reply is None:
                    answer.wait_for_backend()
                    request.lease.granted_at = time.monotonic()  # the upload is the client's time, not the backend's
        if answer.reply is None:
            self._look_for_client()
            answer.read()
        elif request.client.channel.readable and (self._deaf or not upload.streams):
            request.client.notice_break(or_end=self._upstream.config.abandon == "cancel")
        more = answer.pump(is_deaf=self._deaf) or more
        if not answer.is_delivered:
            self._say_what_is_wanted(connection, answer)
            self._turns.set_deadline(answer, self._deaf)
            if more:
                request.client.wakeup.fire_soon()
        return answer.is_delivered

    def _say_what_is_wanted(self, connection: BackendConnection, answer: Answer) -> None:
        """Register for exactly the events that let something move, or end it."""
        upload, client = self._request.upload, self._request.client.channel
        if answer.is_blocked_by_client:
            client.want_write()
        else:
            connection.channel.want_read()
        if self._deaf or not upload.streams:
            if not client.readable:  # else what there is stays unread: telling of it again would be of no use
                client.want_read()  # to notice a client that leaves
        elif not upload.is_blocked_by_backend:
            client.want_read()
        if not self._deaf and upload.is_blocked_by_backend:
            connection.channel.want_write()

    async def _finish(self, connection: BackendConnection, answer: Answer) -> Outcome:
        request, upload, reply = self._request, self._request.upload, answer.reply
        assert reply is not None
        if reply.status == SWITCHING_PROTOCOLS:
            lease = request.lease
            was_let_go = self._hub.let_go(lease)
            if not was_let_go:
                answer.standing.go_on()
                self._hub.prove(lease)
            try:
                await self._tunnel(connection, answer.surplus)
            finally:
                if was_let_go:
                    self._hub.fleet.end_tunnel(lease)
            return Outcome.SERVED
        self.client_persists = answer.client_persists
        # Bytes behind a reply's end belong to nobody: such a connection must never serve another client.
        is_clean = upload.over and not answer.surplus
        if is_clean and may_be_kept(request.head, reply):
            connection.count(upload.bytes_sent)
            self._upstream.give_back(connection)
            self._connection = None
        return outcome_of(reply.status)

    async def _tunnel(self, connection: BackendConnection, first: bytes) -> None:
        """After 101 the connection belongs to another protocol: pass bytes until both sides have ended."""
        client, record = self._request.client, self._request.record
        record.ending = "tunnel"
        tunnel = Tunnel(self._hub, client, connection.channel)
        try:
            tunnel.begin(client.inbox, first)
            await carry(tunnel, client)
        finally:
            client.inbox = b""
            client.close()  # nobody is to linger on what was no HTTP
            record.bytes_in, record.bytes_out = tunnel.bytes_in, tunnel.bytes_out

    async def outlive_client(self) -> None:
        """After the client has left: keep the slot until the backend is done with the work, bounded.

        A synchronous worker computes on, whoever listens; the next request must not land behind that ghost. The
        reply's first byte, or a close, says that it is done.
        """
        connection, answer, client = self._connection, self._answer, self._request.client
        if connection is None or answer is None or answer.reply is not None or not self._request.upload.over:
            return
        if self._upstream.config.abandon == "cancel":
            return  # it notices the close that follows, and stops
        channel = connection.channel
        client.allow(self._hub.timeouts.response_s)
        try:
            answer.take_in(b"")  # what came along with an interim reply that found nobody
            while not client.expired and not self._hub.lets_go_of_ghosts:
                answer.read()
                if answer.reply is not None:  # the beginning of a long one, of which nobody reads the rest
                    return
                channel.want_read()
                if self._hub.is_draining:
                    client.look_again()
                await client.wakeup
        except (AttemptFailed, ClientGone):
            pass  # the backend closed, or its reply found nobody

    def close(self) -> None:
        """Close what was not given back; safe at any time."""
        if self._answer is not None:
            self._answer.close()
        if self._connection is not None:
            self._connection.channel.close()
            self._connection = None
