"""The express lane: a request whose body is here, a backend that is free and connected, a small reply.

The same steps as `exchange` and `attempt`, in one straight line, without the objects that only waiting, streaming
and failing need. Most requests of keep-alive clients go through here; whatever does not go as expected goes on
there, from where it stands. The tests run the relay with and without this lane (`Hub.express`).

A `Ride` departs (request sent) or does not; when it has news it arrives (reply given to the client) or does not. It
never waits: that is for the session.
"""

import time
from typing import Final

from ocr_tcp_lb.balance.outcome import SERVED, Outcome, outcome_of
from ocr_tcp_lb.relay.buffers import scratch_view
from ocr_tcp_lb.relay.claim import Claim
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.failures import Refusal, SinkBroke
from ocr_tcp_lb.relay.flow import FIRST_READ_BYTES
from ocr_tcp_lb.relay.gathering import Gathering
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.relay.request import Begun, own_fields
from ocr_tcp_lb.relay.upstream import BackendConnection, may_be_kept
from ocr_tcp_lb.wire.boundary import reply_head_end
from ocr_tcp_lb.wire.errors import ReplyError
from ocr_tcp_lb.wire.framing import Framing
from ocr_tcp_lb.wire.head import FIRST_CLIENT_ERROR, FIRST_FINAL, FIRST_SERVER_ERROR, ReplyHead, RequestHead

_room: Final = scratch_view[:FIRST_READ_BYTES]


class Ride:
    """One request that may take the express lane.

    `depart` first. If that is True: `arrive` once there is news, or `abandon`. If that is not True: an Exchange goes on
    with what has `begun`, or the client is slow (`unsent`, then `end`), or it is to be closed.
    """

    __slots__ = (
        "_client",
        "_connection",
        "_hub",
        "_reply",
        "_sent",
        "begun",
        "claim",
        "gathering",
        "head",
        "persists",
        "record",
        "unsent",
    )

    record: Record
    persists: bool  # the client's connection may carry another request
    unsent: bytes  # what the client did not take of its reply
    _connection: BackendConnection
    _sent: int  # bytes of the request that the backend took
    _reply: ReplyHead | None  # what the backend said, if it is all of a reply

    def __init__(self, hub: Hub, client: Client, head: RequestHead, gathering: Gathering | None) -> None:
        self._hub = hub
        self._client = client
        self.head = head
        self.gathering = gathering  # None: all of the body came along with the head
        self.claim: Claim | None = None  # once there is one, be it a lease or a place in the queue
        self.begun: Begun | None = None  # the attempt as far as it came, for an Exchange to go on with

    def depart(self) -> bool:
        """Send the request to a backend that is free and connected; False when that cannot be done at once."""
        hub, client, head, gathering = self._hub, self._client, self.head, self.gathering
        if head.upgrade or not hub.express:
            return False
        if head.content_length > hub.limits.body_bytes or not (gathering is None or gathering.is_whole):
            return False
        claim = Claim(hub, client, head)
        try:
            lease = claim.ask()
        except Refusal:
            return False
        self.claim = claim
        if lease is None:
            return False
        upstream = hub.upstreams[lease.backend]
        connection = upstream.take(client.wakeup, claim.arrived_at)
        if connection is None:
            return False
        self._connection = connection
        try:
            return self._send_request(claim.arrived_at)
        except BaseException:  # a mistake of ours, which the session logs
            self._give_back()
            raise

    def _send_request(self, now: float) -> bool:
        """Send head and body with one system call, and wait for the reply."""
        hub, client, head, connection = self._hub, self._client, self.head, self._connection
        asker = client.asker(head) if client.hop.trusted else client.address  # a call less for nearly all
        record = self.record = Record(asker, head.request_id or hub.new_request_id(), head.method, head.target)
        record.began = record.asked = record.leased = record.connected = now
        target = hub.router.rewritten(head, connection.upstream.path)
        message = head.forwarded(target, client.hop, record.request_id)
        if not (self._send(message) if self.gathering is None else self._send_gathered(message, self.gathering)):
            return False
        channel = connection.channel
        if not channel.is_watched:
            channel.want_read()
        if not client.channel.is_watched:
            client.channel.want_read()
        client.allow(hub.timeouts.response_s, now)
        return True

    def _send(self, message: bytes) -> bool:
        """Send the head and the body that came along.

        False: the connection was dead already, and is closed, or what it did not take is left for the Exchange.
        """
        if self.head.content_length:
            message += self._client.inbox[: self.head.content_length]
        channel = self._connection.channel
        try:
            self._sent = sent = channel.sock.send(message)
        except OSError:
            channel.close()
            return False
        if sent < len(message):
            channel.writable = False
            self.begun = Begun(self._connection, sent, b"", message[sent:])
        return sent == len(message)

    def _send_gathered(self, message: bytes, gathering: Gathering) -> bool:
        """Send the head and the gathered body; False as in `_send`."""
        upload, channel = gathering.upload, self._connection.channel
        assert upload is not None, "what is whole was gathered"
        self.record.began = gathering.began_at
        upload.start(message)
        try:
            upload.pump(channel, self._hub.pipes)
        except SinkBroke:
            if not upload.bytes_sent:  # it was dead then already
                channel.close()
                return False
        self._sent = upload.bytes_sent
        if not upload.over:
            self.begun = Begun(self._connection, self._sent, b"")
        return upload.over

    def has_news(self) -> bool:
        """Whether to look: the backend said something, or the client did, or time is up."""
        return self._connection.channel.readable or self._client.channel.readable or self._client.expired

    def arrive(self) -> bool:
        """Give the client its answer, free the backend; True when that is done and the client may ask again."""
        client, head, record = self._client, self.head, self.record
        data = self._read()
        self._reply = reply = self._whole_reply(data)
        if reply is None:
            self.begun = Begun(self._connection, self._sent, data)
            return False
        record.answered = time.monotonic()
        if self.gathering is None:
            client.inbox = client.inbox[head.content_length :]
        self.persists = persists = head.keep_alive and not self._hub.is_draining
        own = own_fields(record, record.answered)
        if not reply.is_dated:
            own += self._hub.date.line(record.answered)
        message = reply.forwarded(minor=head.minor, close=not persists, extra=own)
        if reply.content_length:
            message += data[-reply.content_length :]
        self.unsent = b""
        try:
            sent = client.channel.send(message)
        except OSError:
            sent = -1
        self._free_backend(reply, len(data))  # in this order the client is spared the 5 us that it takes
        if sent < 0:
            self.end("client_left")
            return False
        record.status = reply.status
        if sent < len(message):
            self.unsent = message[sent:]
            return False
        self.end("ok")
        return persists

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
        self._give_back()
        self._log(ending)

    def _give_back(self) -> None:
        claim = self.claim
        assert claim is not None, "without a claim there is nothing to give back"
        if claim.lease is not None:
            self._connection.channel.close()
            claim.settle(Outcome.CLIENT_LEFT)
        if self.gathering is not None:
            self.gathering.close()

    def _log(self, ending: str) -> None:
        record = self.record
        record.ending = ending
        record.backend = self._connection.upstream.name
        record.attempts = 1
        record.bytes_in = self.head.content_length if self.gathering is None else self.gathering.bytes_taken
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
        """The final reply, if all of it is here and nothing behind it; of an error the Exchange knows what to do."""
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
        if (
            not has_length
            or not FIRST_FINAL <= reply.status < FIRST_SERVER_ERROR
            or len(data) - end != reply.content_length
        ):
            return None
        return reply

    def _free_backend(self, reply: ReplyHead, received: int) -> None:
        connection, claim = self._connection, self.claim
        connection.channel.readable = False  # see `presume_empty`
        if may_be_kept(self.head, reply):
            connection.count(self._sent, received)
            connection.upstream.give_back(connection, self.record.answered)
        else:
            connection.channel.close()
        assert claim is not None, "only who has departed arrives"
        assert claim.lease is not None, "a claim holds its lease until it is settled"
        if self.gathering is not None:
            self.gathering.close()  # nobody will ask for this body again
        claim.lease.answered_at = self.record.answered
        outcome = SERVED if reply.status < FIRST_CLIENT_ERROR else outcome_of(reply.status)
        claim.settle(outcome, self.record.answered)
