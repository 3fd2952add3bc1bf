"""One try on one backend: connect, then pump both ways until the reply has ended by its framing.

One wake-up serves both sockets: whichever turns readable or writable wakes the same coroutine, which moves
whatever can move. So an upload that is still running, an early reply, a client that leaves and a backend that
closes are all seen by the same few lines.

`run` ends with an Outcome, or raises: AttemptFailed (no byte of a final reply reached the client), ReplyBroken
(some did), ClientGone, RequestError (the body turned out malformed, too large or too slow).
"""

import time

from ocr_tcp_lb.balance.lease import Outcome
from ocr_tcp_lb.relay.buffers import scratch_view
from ocr_tcp_lb.relay.failures import AttemptFailed, ClientGone, ReplyBroken, SinkBroke, SourceBroke
from ocr_tcp_lb.relay.flow import FIRST_READ_BYTES, Flow
from ocr_tcp_lb.relay.held_reply import HeldReply
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.introduction import header_for
from ocr_tcp_lb.relay.request import OUTCOMES, Begun, Request, debug_fields, own_fields
from ocr_tcp_lb.relay.tunnel import Tunnel
from ocr_tcp_lb.relay.upload import HeldBody
from ocr_tcp_lb.relay.upstream import BackendConnection, Upstream
from ocr_tcp_lb.wire.boundary import reply_head_end
from ocr_tcp_lb.wire.chunked import ChunkedBody
from ocr_tcp_lb.wire.errors import ReplyError, RequestError, bad_reply
from ocr_tcp_lb.wire.head import Framing, ReplyHead

STALE_WITHIN_S = 0.1  # a stale connection says so within a round trip; later it is a crash
PASSING_ERRORS = frozenset({500, 502, 503, 504})  # another backend may do better; nginx's proxy_next_upstream has them
MOST_INTERIM_REPLIES = 32  # a backend that sends 1xx for ever is broken
CONTINUE, SWITCHING_PROTOCOLS, FIRST_FINAL = 100, 101, 200


class Attempt:
    """One attempt; the caller holds the lease, and closes the attempt when it has ended."""

    client_persists = False
    _connection: BackendConnection | None = None
    _deaf = False  # the backend takes no more of the request; its reply may still come
    _inbox = b""  # the beginning of a reply's head
    _interim_replies = 0
    _held: HeldReply | None = None  # a reply on its way, of which the client knows nothing yet
    _reply: ReplyHead | None = None
    _download: Flow | None = None  # None also for a reply that went to the client whole, at once
    _delivered = False
    _surplus = b""  # what the backend sent behind its reply
    _moved = -1  # bytes moved when the deadline was last set

    def __init__(self, hub: Hub, request: Request, upstream: Upstream) -> None:
        self._hub = hub
        self._request = request
        self._upstream = upstream

    async def run(self, begun: Begun | None = None) -> Outcome:
        """Carry the request to the backend and its reply to the client.

        An idle connection that proves stale is replaced by a new one, if the request may be sent again. With
        `begun`, the attempt is under way: all of the request was sent, and something, perhaps, was received.
        """
        if begun is not None:
            return await self._run(begun.connection, begun)
        request = self._request
        # A connection that was introduced as one client's must not serve another.
        introduces = self._upstream.config.send_proxy is not None
        can_be_sent_again = not request.upload.streams
        connection = (
            None if introduces else self._upstream.take(request.client.wakeup, can_be_sent_again=can_be_sent_again)
        )
        return await self._run(connection)

    async def _run(self, connection: BackendConnection | None, begun: Begun | None = None) -> Outcome:
        request = self._request
        while True:
            if connection is None:
                connection = await self._connect()
            self._connection = connection
            self._moved = -1
            request.record.connected = time.monotonic() if begun is None else request.record.leased
            try:
                if begun is None:
                    self._send_head()
                else:
                    self._take_up(begun)
                begun = None
                while not self._pump(connection):
                    await request.client.wakeup
                    if request.client.expired:
                        self._time_is_up()
                return await self._finish(connection)
            except AttemptFailed as failure:
                is_safe = (failure.nothing_sent or request.may_run_twice) and request.upload.is_replayable
                if failure.outcome is not Outcome.STALE or not is_safe:
                    raise
                connection.channel.close()
                connection = self._connection = None
                self._deaf = False

    def _take_up(self, begun: Begun) -> None:
        """Go on with what the express lane began."""
        if self._request.client.expired:
            raise self._silent()
        upload = self._request.upload
        assert isinstance(upload, HeldBody)
        upload.was_sent(begun.sent)
        begun.connection.channel.readable = True
        if begun.data:
            self._take_in(begun.connection, begun.data)

    async def _connect(self) -> BackendConnection:
        client = self._request.client
        client.allow(self._hub.timeouts.connect_s)
        return await self._upstream.connect(client.wakeup, lambda: client.expired)

    def _send_head(self) -> None:
        request, head = self._request, self._request.head
        target = self._hub.router.rewritten(head, self._upstream.path)
        expect = head.expects_continue and request.passes_expectation
        message = head.forwarded(target, request.client.hop, request.record.request_id, expect=expect)
        version = self._upstream.config.send_proxy
        request.upload.start(header_for(request.client, version) + message if version else message)

    def _pump(self, connection: BackendConnection) -> bool:
        """Move what can move, in both directions; True when the reply has ended, else the wake-up is set."""
        request, upload = self._request, self._request.upload
        more = False
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
                if streamed and request.lease is not None:
                    request.lease.granted_at = time.monotonic()  # the upload is the client's time, not the backend's
        if self._reply is None:
            if request.client.channel.readable and not upload.streams:
                request.client.notice_departure()
            if connection.channel.readable:
                self._read_reply(connection)
        if self._download is not None:
            more = self._pump_reply(self._download) or more
        if not self._delivered:
            self._say_what_is_wanted(connection)
            self._set_deadline()
            if more:
                request.client.wakeup.fire_soon()
        return self._delivered

    def _pump_reply(self, download: Flow) -> bool:
        try:
            more = download.pump()
        except SinkBroke as error:
            raise ClientGone(str(error)) from error
        except (SourceBroke, ReplyError) as error:
            raise ReplyBroken(str(error)) from error
        finally:
            self._request.record.bytes_out = max(0, download.moved)
        if download.done:
            if self._deaf and self._reply is not None and self._reply.framing is Framing.UNTIL_CLOSE:
                # The reset that made the backend deaf may have cut the reply too; its end cannot be told from one.
                raise ReplyBroken("the backend reset the connection of a reply without a length")
            self._delivered = True
            self._surplus = download.surplus
        return more

    def _read_reply(self, connection: BackendConnection) -> None:
        channel = connection.channel
        while self._reply is None and channel.readable:
            try:
                received = channel.receive_into(scratch_view[:FIRST_READ_BYTES])
            except OSError as error:
                raise self._closed_early(connection, str(error)) from error
            if received is None:
                return
            if received == 0:
                raise self._closed_early(connection, "the connection was closed before a reply")
            if self._held is not None:
                self._hold(connection, self._held, scratch_view[:received])
            else:
                self._take_in(connection, self._inbox + bytes(scratch_view[:received]))

    def _hold(self, connection: BackendConnection, held: HeldReply, data: memoryview) -> None:
        self._moved = -1  # bytes came: the deadline starts anew
        if held.take(data):
            self._begin_reply(connection, held.head, bytes(held.body))

    def _take_in(self, connection: BackendConnection, data: bytes) -> None:
        try:
            self._inbox = self._take_heads(connection, data)
        except ReplyError as error:
            raise AttemptFailed(Outcome.BROKE, f"{self._name}: {error.message}") from error

    def _silent(self) -> AttemptFailed:
        return AttemptFailed(Outcome.SILENT, f"{self._name} did not answer in time")

    @property
    def _name(self) -> str:
        return self._upstream.config.name

    def _closed_early(self, connection: BackendConnection, reason: str) -> AttemptFailed:
        """What it means that no reply came: a connection that was stale already, or a backend that broke."""
        said_nothing = not self._inbox and self._interim_replies == 0 and self._held is None
        is_first_news = said_nothing and not connection.is_fresh
        untouched = is_first_news and connection.proves_untouched()
        at_once = time.monotonic() - self._request.record.connected < STALE_WITHIN_S
        stale = untouched or (is_first_news and at_once)
        return AttemptFailed(
            Outcome.STALE if stale else Outcome.BROKE, f"{self._name}: {reason}", nothing_sent=untouched
        )

    def _take_heads(self, connection: BackendConnection, data: bytes) -> bytes:
        """Take every complete head off the front of what the backend sent; returns the rest."""
        head = self._request.head
        while self._reply is None and (end := reply_head_end(data, self._hub.limits.head_bytes)):
            reply = self._hub.replies.parse(data[:end], head.method)
            data = data[end:]
            if reply.status >= FIRST_FINAL or reply.status == SWITCHING_PROTOCOLS:
                if not self._keep_from_client(reply, data):
                    self._begin_reply(connection, reply, data)
                return b""
            self._pass_on_interim(reply)
        return data

    def _keep_from_client(self, reply: ReplyHead, data: bytes) -> bool:
        """Where another backend may have the request, pass no error on, and no small reply before it is whole.

        So one that breaks off is tried again instead of being passed on broken. Raises AttemptFailed for an error.
        """
        is_error = reply.status in PASSING_ERRORS
        is_partial = reply.framing is Framing.LENGTH and len(data) < reply.content_length
        if not (is_error or is_partial) or not self._has_second_chance():
            return False
        if is_error:
            raise AttemptFailed(Outcome.SERVER_ERROR, f"{self._name} answered with status {reply.status}")
        hub = self._hub
        if reply.content_length > hub.limits.reply_buffer_bytes or not hub.slabs.reserve(reply.content_length):
            return False
        self._held = HeldReply(reply, bytearray(data))
        return True

    def _has_second_chance(self) -> bool:
        request = self._request
        return (
            request.may_run_twice
            and request.upload.is_replayable
            and not request.client.channel.is_closed
            and request.lease is not None
            and self._hub.fleet.could_retry(request.lease, time.monotonic())
        )

    def _pass_on_interim(self, reply: ReplyHead) -> None:
        """RFC 9110 section 15.2: pass 1xx on, except to HTTP/1.0 clients, and 100 where we answered it ourselves."""
        request = self._request
        self._interim_replies += 1
        if self._interim_replies > MOST_INTERIM_REPLIES:
            raise bad_reply("too many interim replies")
        if request.client.channel.is_closed:
            return  # a ghost's backend computes on
        if request.head.minor == 0 or (reply.status == CONTINUE and not request.passes_expectation):
            return
        data = reply.forwarded(minor=1, close=False)
        if self._send(data) < len(data):
            raise ClientGone("the client does not read its interim replies")

    def _begin_reply(self, connection: BackendConnection, reply: ReplyHead, data: bytes) -> None:
        """Pass the final reply's head on, with what is there of its body."""
        request, head = self._request, self._request.head
        if reply.status == SWITCHING_PROTOCOLS and not head.upgrade:
            raise bad_reply("101 Switching Protocols, which nobody asked for")
        framing = reply.framing
        dechunk = framing is Framing.CHUNKED and head.minor == 0
        # An upload that is cut short by an early reply leaves bytes on the connection that are no request.
        self.client_persists = (
            head.keep_alive
            and framing is not Framing.UNTIL_CLOSE
            and not dechunk
            and not request.upload.streams
            and not self._hub.draining
        )
        answered_at = time.monotonic()
        if request.lease is not None:
            request.lease.answered_at = answered_at  # now and not at the end: others are weighed by it meanwhile
        prelude = reply.forwarded(
            minor=head.minor,
            close=not self.client_persists,
            dechunk=dechunk,
            extra=own_fields(request.record, answered_at) + self._debug_fields(),
        )
        self._reply = reply
        self._moved = -1  # the head is news: the deadline starts anew
        sent = 0
        length = reply.content_length
        is_whole = len(data) >= length and (framing is Framing.LENGTH or framing is Framing.NONE)
        if is_whole:  # as most replies are: it leaves in one system call
            message = prelude + data if len(data) == length else prelude + data[:length]
            sent = self._send(message)
        if is_whole and sent == len(message):
            request.record.bytes_out = length
            self._surplus = data[length:]
            self._delivered = True
            connection.channel.presume_empty()
        else:
            self._begin_download(connection, dechunk).begin(prelude, data, sent)
        request.record.answered = answered_at
        request.record.status = reply.status

    def _debug_fields(self) -> bytes:
        return debug_fields(self._request.record) if self._hub.config.debug_headers else b""

    def _send(self, message: bytes) -> int:
        try:
            return self._request.client.channel.send(message)
        except OSError as error:
            raise ClientGone(str(error)) from error

    def _begin_download(self, connection: BackendConnection, dechunk: bool) -> Flow:
        reply = self._reply
        assert reply is not None
        self._download = Flow(
            connection.channel,
            self._request.client.channel,
            self._hub.pipes,
            reply.framing,
            left=reply.content_length,
            chunked=ChunkedBody("backend") if reply.framing is Framing.CHUNKED else None,
            dechunk=dechunk,
        )
        return self._download

    def _say_what_is_wanted(self, connection: BackendConnection) -> None:
        """Register for exactly the events that let something move, or end it."""
        upload, download, client = self._request.upload, self._download, self._request.client.channel
        if download is not None and download.is_blocked_by_sink:
            client.want_write()
        else:
            connection.channel.want_read()
        if self._deaf or not upload.streams:
            if self._reply is None:
                client.want_read()  # to notice a client that leaves
        elif not upload.is_blocked_by_backend:
            client.want_read()
        if not self._deaf and upload.is_blocked_by_backend:
            connection.channel.want_write()

    def _set_deadline(self) -> None:
        """Renew the deadline whenever bytes have moved since it was set."""
        upload, download = self._request.upload, self._download
        moved = upload.bytes_sent + (download.moved if download is not None else 0)
        if moved == self._moved:
            return
        self._moved = moved
        timeouts = self._hub.timeouts
        waits_for_backend = (upload.over or self._deaf) if download is None else not download.is_blocked_by_sink
        self._request.client.allow(timeouts.response_s if waits_for_backend else timeouts.idle_s)

    def _time_is_up(self) -> None:
        upload, download = self._request.upload, self._download
        if download is not None:
            if download.is_blocked_by_sink:
                raise ClientGone("the client does not read its reply")
            raise ReplyBroken("the backend fell silent inside its reply")
        if upload.streams and not upload.is_blocked_by_backend:
            raise RequestError(408, "body_timeout", "the request's body did not arrive in time")
        raise self._silent()

    async def _finish(self, connection: BackendConnection) -> Outcome:
        upload, reply = self._request.upload, self._reply
        assert reply is not None
        if reply.status == SWITCHING_PROTOCOLS:
            await self._tunnel(connection, self._surplus)
            return Outcome.SERVED
        # Bytes behind a reply's end belong to nobody: such a connection must never serve another client.
        if reply.keep_alive and upload.over and not self._surplus and self._upstream.config.send_proxy is None:
            connection.bytes_sent += upload.bytes_sent
            self._upstream.give_back(connection)
            self._connection = None
        return OUTCOMES.get(reply.status // 100, Outcome.SERVED)

    async def _tunnel(self, connection: BackendConnection, first: bytes) -> None:
        """After 101 the connection belongs to another protocol: pass bytes until both sides have ended."""
        client, record = self._request.client, self._request.record
        self.client_persists = False
        record.ending = "tunnel"
        tunnel = Tunnel(self._hub, client, connection.channel)
        try:
            await tunnel.run(client.inbox, first)
        finally:
            client.inbox = b""
            record.bytes_in, record.bytes_out = tunnel.bytes_in, tunnel.bytes_out

    async def outlive_client(self) -> None:
        """After the client has left: keep the slot until the backend is done with the work, bounded.

        A synchronous worker computes on, whoever listens; the next request must not land behind that ghost. The
        reply's first byte, or a close, says that it is done.
        """
        connection, client = self._connection, self._request.client
        if connection is None or self._reply is not None or not self._request.upload.over:
            return
        if self._upstream.config.abandon == "cancel":
            return  # it notices the close that follows, and stops
        channel = connection.channel
        client.allow(self._hub.timeouts.response_s)
        try:
            while not (client.expired or self._hub.draining):
                self._read_reply(connection)
                if self._reply is not None:  # the beginning of a long one, of which nobody reads the rest
                    return
                channel.want_read()
                await client.wakeup
        except (AttemptFailed, ClientGone):
            pass  # the backend closed, or its reply found nobody

    def close(self) -> None:
        """Close what was not given back; safe at any time."""
        if self._download is not None:
            self._download.close()
        if self._held is not None:
            self._hub.slabs.release(self._held.head.content_length)
            self._held = None
        if self._connection is not None:
            self._connection.channel.close()
            self._connection = None
