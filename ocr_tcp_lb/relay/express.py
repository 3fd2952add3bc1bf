"""The express lane: a small request, a backend that is free and connected, a small reply.

The same steps as `exchange` and `attempt`, in one straight line, without the objects that only waiting, streaming
and failing need. Most requests of keep-alive clients go through here; whatever does not go as expected goes on
there, from where it stands. The tests run the relay with and without this lane (`Hub.express`).

A `Ride` departs (request sent) or does not; when it has news it arrives (reply given to the client) or does not. It
never waits: that is for the session.
"""

import time

from ocr_tcp_lb.balance.lease import Outcome
from ocr_tcp_lb.relay.buffers import scratch_view
from ocr_tcp_lb.relay.claim import Claim
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.failures import Refusal
from ocr_tcp_lb.relay.flow import FIRST_READ_BYTES
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.relay.request import OUTCOMES, Begun, own_fields
from ocr_tcp_lb.relay.upstream import BackendConnection
from ocr_tcp_lb.wire.boundary import reply_head_end
from ocr_tcp_lb.wire.errors import ReplyError
from ocr_tcp_lb.wire.framing import Framing
from ocr_tcp_lb.wire.head import ReplyHead, RequestHead

FIRST_FINAL, FIRST_ERROR = 200, 500  # another backend may do better: the Exchange knows
_room = scratch_view[:FIRST_READ_BYTES]


class Ride:
    """One request that may take the express lane.

    `depart` first. If that is True: `arrive` once there is news, or `abandon`. If that is not True: an Exchange goes on
    with what `begun` returns, or the client is slow (`unsent`, then `end`), or it is to be closed.
    """

    __slots__ = (
        "_client",
        "_connection",
        "_data",
        "_hub",
        "_reply",
        "_sent",
        "claim",
        "head",
        "persists",
        "record",
        "unsent",
    )

    record: Record
    persists: bool  # the client's connection may carry another request
    unsent: bytes  # what the client did not take of its reply
    _connection: BackendConnection
    _sent: int  # bytes of the request, all of which the backend took
    _data: bytes  # what the backend said
    _reply: ReplyHead | None  # which is this, if it is all of a reply

    def __init__(self, hub: Hub, client: Client, head: RequestHead) -> None:
        self._hub = hub
        self._client = client
        self.head = head
        self.claim: Claim | None = None  # once there is one, be it a lease or a place in the queue

    def depart(self) -> bool:
        """Send the request to a backend that is free and connected; False when that cannot be done at once."""
        hub, client, head = self._hub, self._client, self.head
        length = head.content_length
        if head.framing is Framing.CHUNKED or length > len(client.inbox) or length > hub.limits.body_bytes:
            return False
        if head.upgrade or not hub.express:
            return False
        claim = Claim(hub, client, head)
        try:
            lease = claim.ask()
        except Refusal:
            return False
        self.claim = claim
        if lease is None:
            return False
        upstream = hub.upstreams[lease.backend.name]
        connection = upstream.take(client.wakeup) if upstream.config.send_proxy is None else None
        if connection is None:
            return False
        self._connection = connection
        return self._send_request(claim.arrived_at)

    def _send_request(self, now: float) -> bool:
        """Send head and body with one system call, and wait for the reply; False with the connection closed.

        It was dead then already, or took only a part of the request, on which no backend acts.
        """
        hub, client, head, connection = self._hub, self._client, self.head, self._connection
        record = self.record = Record(client.address, head.request_id or hub.new_request_id(), head.method, head.target)
        record.began = record.asked = record.leased = record.connected = now
        target = hub.router.rewritten(head, connection.upstream.path)
        message = head.forwarded(target, client.hop, record.request_id)
        if head.content_length:
            message += client.inbox[: head.content_length]
        self._sent = len(message)
        channel = connection.channel
        try:
            if channel.sock.send(message) == self._sent:
                if not channel.is_watched:
                    channel.want_read()
                if not client.channel.is_watched:
                    client.channel.want_read()
                client.allow(hub.timeouts.response_s)
                return True
        except OSError:
            pass
        channel.close()
        return False

    def has_news(self) -> bool:
        """Whether to look: the backend said something, or the client did, or time is up."""
        return self._connection.channel.readable or self._client.channel.readable or self._client.expired

    def arrive(self) -> bool:
        """Free the backend, give the client its answer; True when that is done and the client may ask again."""
        client, head, record = self._client, self.head, self.record
        self._data = data = self._read()
        self._reply = reply = self._whole_reply(data)
        if reply is None:
            return False
        record.answered = time.monotonic()
        self._free_backend(reply)
        client.inbox = client.inbox[head.content_length :]
        self.persists = persists = head.keep_alive and not self._hub.draining
        own = own_fields(record, record.answered)
        message = reply.forwarded(minor=head.minor, close=not persists, extra=own)
        if reply.content_length:
            message += data[-reply.content_length :]
        try:
            sent = client.channel.send(message)
        except OSError:
            self.unsent = b""
            self.end("client_left")
            return False
        record.status = reply.status
        if sent < len(message):
            self.unsent = message[sent:]
            return False
        self.unsent = b""
        self.end("ok")
        return persists

    def begun(self) -> Begun | None:
        """The attempt as far as it came, for an Exchange to go on with; None if the whole reply arrived."""
        return Begun(self._connection, self._sent, self._data) if self._reply is None else None

    def end(self, ending: str) -> None:
        """The client has all of its reply, or will not have it; the backend was freed before."""
        reply = self._reply
        if ending != "ok":
            self.persists = False
        elif reply is not None:
            self.record.bytes_out = reply.content_length
        self._log(ending)

    def abandon(self, ending: str) -> None:
        """Give back what is still held: the balancer ends while the backend computes, or a mistake of ours came up."""
        claim = self.claim
        assert claim is not None, "only who has departed can be abandoned"
        if claim.lease is not None:
            self._connection.channel.close()
            claim.settle(Outcome.CLIENT_LEFT)
        self._log(ending)

    def _log(self, ending: str) -> None:
        record = self.record
        record.ending = ending
        record.backend = self._connection.upstream.config.name
        record.attempts = 1
        record.bytes_in = self.head.content_length
        record.ended = time.monotonic()
        self._hub.on_record(record)

    def _read(self) -> bytes:
        """What the backend says; nothing when it is not its turn, has ended or broke: the Exchange will find out."""
        channel = self._connection.channel
        if not channel.readable:
            return b""
        try:
            received = channel.sock.recv_into(_room)
        except OSError:
            return b""
        return bytes(_room[:received])

    def _whole_reply(self, data: bytes) -> ReplyHead | None:
        """The final reply, if all of it is here and nothing behind it."""
        if not data:
            return None
        try:
            end = reply_head_end(data, self._hub.limits.head_bytes)
            if not end:
                return None
            reply = self._hub.replies.parse(data[:end], self.head.method)
        except ReplyError:
            return None
        has_length = reply.framing is Framing.LENGTH or reply.framing is Framing.NONE
        if not has_length or not FIRST_FINAL <= reply.status < FIRST_ERROR or len(data) - end != reply.content_length:
            return None
        return reply

    def _free_backend(self, reply: ReplyHead) -> None:
        connection, claim = self._connection, self.claim
        connection.channel.readable = False  # see `presume_empty`
        if reply.keep_alive:
            connection.bytes_sent += self._sent
            connection.upstream.give_back(connection)
        else:
            connection.channel.close()
        assert claim is not None, "only who has departed arrives"
        assert claim.lease is not None, "a claim holds its lease until it is settled"
        claim.lease.answered_at = self.record.answered
        claim.settle(OUTCOMES.get(reply.status // 100, Outcome.SERVED))
