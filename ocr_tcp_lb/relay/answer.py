"""The answer to one attempt: heads are found in what the backend sends, and the final reply goes to the client.

Interim replies are passed on, an error or a small reply is kept from the client where another backend may still
have the request, and what is passed on leaves whole in one system call or as a flow. Nothing here waits: `read`
takes what is there, `pump` moves what can move.

Raises AttemptFailed (the client knows nothing of this attempt yet), ReplyBroken (it does), ClientGone.
"""

import time

from ocr_tcp_lb.balance.health import State
from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.relay.buffers import scratch_view
from ocr_tcp_lb.relay.failures import AttemptFailed, ClientGone, ReplyBroken, SinkBroke, SourceBroke
from ocr_tcp_lb.relay.flow import FIRST_READ_BYTES, Flow
from ocr_tcp_lb.relay.held_reply import HeldReply
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.request import Request, added_fields
from ocr_tcp_lb.relay.standing import Standing
from ocr_tcp_lb.relay.upstream import BackendConnection
from ocr_tcp_lb.wire.boundary import reply_head_end
from ocr_tcp_lb.wire.chunked import ChunkedBody
from ocr_tcp_lb.wire.errors import ReplyError
from ocr_tcp_lb.wire.fields import list_members
from ocr_tcp_lb.wire.framing import Framing
from ocr_tcp_lb.wire.head import CONTINUE, FIRST_SERVER_ERROR, SWITCHING_PROTOCOLS, ReplyHead

STALE_WITHIN_S = 0.1  # a stale connection says so within a round trip; later it is a crash
PASSING_ERRORS = frozenset({500, 502, 503, 504})  # another backend may do better; nginx's proxy_next_upstream has them
MOST_INTERIM_REPLIES = 32  # a backend that sends 1xx for ever is broken


class Answer:
    """What comes back from one backend connection for one request."""

    client_persists = False  # the client's connection may carry another request after this reply
    is_delivered = False  # the client took the last byte
    reply: ReplyHead | None = None  # the final reply, once the client was told of it
    surplus = b""  # what the backend sent behind its reply
    taken = 0  # bytes that the backend sent before its reply began
    _download: Flow | None = None  # None also for a reply that went to the client whole, at once
    _held: HeldReply | None = None  # a reply on its way, of which the client knows nothing yet
    _inbox = b""  # the beginning of a reply's head
    _interim_replies = 0

    def __init__(self, hub: Hub, request: Request, connection: BackendConnection) -> None:
        self._hub = hub
        self._request = request
        self._connection = connection
        self.standing = Standing(hub, request.lease)

    @property
    def is_blocked_by_client(self) -> bool:
        """Whether the client must take bytes before anything else can move."""
        return self._download is not None and self._download.is_blocked_by_sink

    @property
    def moved(self) -> int:
        """A number that changes whenever the client takes bytes of a long reply."""
        return self._download.moved if self._download is not None else 0

    def read(self) -> None:
        """Take what the backend sent, until the final reply has begun."""
        channel = self._connection.channel
        while self.reply is None and channel.readable:
            try:
                received = channel.receive_into(scratch_view[:FIRST_READ_BYTES])
            except OSError as error:
                raise self._closed_early(str(error)) from error
            if received is None:
                return
            if received == 0:
                raise self._closed_early("the connection was closed before a reply")
            if self._held is not None:
                self._hold(self._held, scratch_view[:received])
            else:
                self.take_in(bytes(scratch_view[:received]))

    def _hold(self, held: HeldReply, data: memoryview) -> None:
        self.taken += len(data)
        if held.take(data):
            if held.head.status in PASSING_ERRORS:
                raise self._errs(held.head, held)
            self._begin(held.head, bytes(held.body))

    def take_in(self, data: bytes) -> None:
        """Understand what came before the final reply's body."""
        self.taken += len(data)
        try:
            self._inbox = self._take_heads(self._inbox + data)
        except ReplyError as error:
            raise AttemptFailed(Outcome.BROKE, f"{self._name}: {error.message}") from error

    @property
    def _name(self) -> str:
        return self._connection.upstream.name

    def _closed_early(self, reason: str) -> AttemptFailed:
        """What it means that no reply came: a connection that was stale already, or a backend that broke.

        The difference matters beyond this request: who broke is dying, perhaps, and must not be sent the next one.
        """
        if self.has_held_error:
            return self.cut_error()
        connection = self._connection
        said_nothing = not self._inbox and self._interim_replies == 0 and self._held is None
        is_first_news = said_nothing and not connection.is_fresh
        untouched = is_first_news and connection.proves_untouched()
        at_once = time.monotonic() - self._request.record.connected < STALE_WITHIN_S
        stale = untouched or (is_first_news and at_once and not connection.proves_taken())
        return AttemptFailed(
            Outcome.STALE if stale else Outcome.BROKE, f"{self._name}: {reason}", nothing_sent=untouched
        )

    def _take_heads(self, data: bytes) -> bytes:
        """Take every complete head off the front of what the backend sent; returns the rest."""
        head = self._request.head
        while self.reply is None and (end := reply_head_end(data, self._hub.limits.head_bytes)):
            reply = self._hub.replies.parse(data[:end], head.method)
            data = data[end:]
            if reply.is_final:
                if not self._keep_from_client(reply, data):
                    self._begin(reply, data)
                return b""
            self._inbox = data  # kept if the interim reply finds nobody: then who is done must be heard
            self._pass_on_interim(reply)
        return data

    def _keep_from_client(self, reply: ReplyHead, data: bytes) -> bool:
        """Where another backend may have the request, pass no error on, and no small reply before it is whole.

        So one that breaks off is tried again instead of being passed on broken. Raises AttemptFailed for an error that
        is whole, or for which there is no room.
        """
        is_error = reply.status in PASSING_ERRORS
        is_partial = reply.framing is Framing.LENGTH and len(data) < reply.content_length
        if not (is_error or is_partial) or not self._has_second_chance():
            return False
        if not self._has_room(reply):
            if is_error:
                raise self._errs(reply, None)
            return False
        self._held = HeldReply(reply, bytearray(data))
        if not is_partial:
            raise self._errs(reply, self._held)
        self.standing.go_on()
        return True

    def _has_room(self, reply: ReplyHead) -> bool:
        hub, size = self._hub, reply.content_length
        has_length = reply.framing is Framing.LENGTH or reply.framing is Framing.NONE
        return has_length and size <= hub.limits.reply_buffer_bytes and hub.slabs.reserve(size)

    @property
    def has_held_error(self) -> bool:
        """Whether an error is on its way, of which the client knows nothing."""
        return self._held is not None and self._held.head.status in PASSING_ERRORS

    def cut_error(self) -> AttemptFailed:
        """What such an error is when it breaks off or stalls: an error all the same, but none to give to the client."""
        assert self._held is not None
        return self._errs(self._held.head, None)

    def _errs(self, reply: ReplyHead, held: HeldReply | None) -> AttemptFailed:
        return AttemptFailed(Outcome.SERVER_ERROR, f"{self._name} answered with status {reply.status}", reply=held)

    def _has_second_chance(self) -> bool:
        request, now = self._request, time.monotonic()
        return (
            request.may_run_twice
            and request.upload.is_replayable
            and not request.client.channel.is_closed
            and (request.deadline is None or now < request.deadline)
            and self._hub.fleet.could_retry(request.lease, now)
        )

    def _pass_on_interim(self, reply: ReplyHead) -> None:
        """RFC 9110 section 15.2: pass 1xx on, except to HTTP/1.0 clients, and 100 where we answered it ourselves."""
        request = self._request
        self._interim_replies += 1
        if self._interim_replies > MOST_INTERIM_REPLIES:
            raise ReplyError("too many interim replies")
        if request.client.channel.is_closed:
            return  # a ghost's backend computes on
        if request.head.minor == 0 or (reply.status == CONTINUE and not request.passes_expectation):
            return
        data = reply.forwarded(minor=1, close=False)[request.client.ahead :]
        if self._send(data) < len(data):
            raise ClientGone("the client does not read its interim replies")
        request.client.ahead = 0

    def _begin(self, reply: ReplyHead, data: bytes) -> None:
        """Pass the final reply's head on, with what is there of its body."""
        request, head = self._request, self._request.head
        if reply.status == SWITCHING_PROTOCOLS and not _was_offered(reply.upgrade, head.upgrade):
            raise ReplyError("101 Switching Protocols, which nobody asked for")
        framing = reply.framing
        dechunk = framing is Framing.CHUNKED and head.minor == 0
        # An upload that is cut short by an early reply leaves bytes on the connection that are no request.
        self.client_persists = (
            head.keep_alive
            and framing is not Framing.UNTIL_CLOSE
            and not dechunk
            and not request.upload.streams
            and not self._hub.is_draining
        )
        self.wait_for_backend()
        answered_at = time.monotonic()
        request.lease.answered_at = answered_at  # now and not at the end: others are weighed by it meanwhile
        prelude = reply.forwarded(
            minor=head.minor,
            close=not self.client_persists,
            extra=added_fields(self._hub, request.record, reply, answered_at),
        )[request.client.ahead :]
        self.reply = reply
        sent = 0
        length = reply.content_length
        is_whole = len(data) >= length and (framing is Framing.LENGTH or framing is Framing.NONE)
        if is_whole:  # as most replies are: it leaves in one system call
            message = prelude + data if len(data) == length else prelude + data[:length]
            sent = self._send(message)
        if is_whole and sent == len(message):
            request.record.bytes_out = length
            self.surplus = data[length:]
            self.is_delivered = True
            self._connection.channel.presume_empty()
        else:
            self._begin_download(reply, dechunk).begin(prelude, data, sent)
            if reply.status != SWITCHING_PROTOCOLS:
                self.standing.go_on()
                if reply.status < FIRST_SERVER_ERROR and not request.lease.backend.health.is_untroubled:
                    self.standing.prove_soon()
        request.client.ahead = 0
        request.record.answered = answered_at
        request.record.status = reply.status

    def _send(self, message: bytes) -> int:
        try:
            return self._request.client.channel.send(message)
        except OSError as error:
            raise ClientGone(str(error)) from error

    def _begin_download(self, reply: ReplyHead, dechunk: bool) -> Flow:
        self._download = Flow(
            self._connection.channel,
            self._request.client.channel,
            self._hub.pipes,
            reply.framing,
            left=reply.content_length,
            chunked=ChunkedBody("backend") if reply.framing is Framing.CHUNKED else None,
            dechunk=dechunk,
        )
        return self._download

    def pump(self, *, is_deaf: bool) -> bool:
        """Move a long reply's body; True when it stopped only to let others have their turn.

        `is_deaf`: a reset of the backend was seen while the request was sent to it.
        """
        download = self._download
        if download is None:
            return False
        try:
            more = download.pump()
        except SinkBroke as broke:
            raise ClientGone(str(broke)) from broke
        except (SourceBroke, ReplyError) as error:
            raise ReplyBroken(str(error)) from error
        finally:
            self._request.record.bytes_out = max(0, download.moved)
        if download.done:
            if is_deaf and self.reply is not None and self.reply.framing is Framing.UNTIL_CLOSE:
                # The reset that made the backend deaf may have cut the reply too; its end cannot be told from one.
                raise ReplyBroken("the backend reset the connection of a reply without a length")
            self.is_delivered = True
            self.surplus = download.surplus
        return more

    def wait_for_client(self) -> None:
        """Before the reply, the client is to send more: that is no silence, and others need not wait for the trial."""
        if self.reply is None and self._held is None:
            self.standing.go_on()
            if self._request.lease.backend.health.state is State.TRIAL:  # its errors are not forgiven for that
                self.standing.prove_soon()

    def wait_for_backend(self) -> None:
        """Before the reply, it is the backend's turn again."""
        if self.reply is None and self._held is None:
            self.standing.take_back()

    def close(self) -> None:
        """Give up what is held; safe at any time."""
        self.standing.take_back()
        if self._download is not None:
            self._download.close()
        if self._held is not None:
            if not self._held.is_kept:
                self._hub.slabs.release(self._held.head.content_length)
            self._held = None


def _was_offered(chosen: bytes, offered: bytes) -> bool:
    """RFC 9110 section 7.8: a server must not switch to a protocol that the client did not offer."""
    return set(list_members([chosen])) <= set(list_members([offered]))
