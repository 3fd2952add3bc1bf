"""The express lane: a small request, a backend that is free and connected, a small reply.

The same steps as `exchange` and `attempt`, in one straight line, without the objects that only waiting, streaming
and failing need. Most requests of keep-alive clients go through here; whatever does not go as expected goes on
there, from where it stands. The tests run the relay with and without this lane (`Hub.express`).
"""

import time

from ocr_tcp_lb.balance.lease import Outcome
from ocr_tcp_lb.relay.buffers import scratch_view
from ocr_tcp_lb.relay.claim import Claim
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.exchange import Exchange
from ocr_tcp_lb.relay.failures import ClientGone, Refusal
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
    """One request that may take the express lane."""

    __slots__ = ("_claim", "_client", "_connection", "_head", "_hub", "_record", "_sent")

    _claim: Claim
    _connection: BackendConnection
    _record: Record
    _sent: int  # bytes of the request, all of which the backend took

    def __init__(self, hub: Hub, client: Client, head: RequestHead) -> None:
        self._hub = hub
        self._client = client
        self._head = head

    async def run(self) -> bool:
        """Serve the request, here or in an Exchange; True when the client's connection may carry another one."""
        hub, client, head = self._hub, self._client, self._head
        length = head.content_length
        is_here = (
            head.framing is not Framing.CHUNKED and length <= len(client.inbox) and length <= hub.limits.body_bytes
        )
        if not (is_here and hub.express) or head.upgrade:
            return await Exchange(hub, client, head).run()
        claim = self._claim = Claim(hub, client, head)
        try:
            boarded = self._board()
        except Refusal:
            return await Exchange(hub, client, head).run()
        if not (boarded and self._send_request()):
            return await Exchange(hub, client, head).run(claim)

        backend = self._connection.channel
        try:
            while not (backend.readable or client.channel.readable or client.expired):
                await client.wakeup
        except BaseException:
            self._abandon()
            raise
        data = self._read()
        reply = self._whole_reply(data)
        if reply is None:
            begun = Begun(self._connection, self._sent, data)
            return await Exchange(hub, client, head, self._record).run(claim, begun)
        return await self._answer(reply, data)

    def _board(self) -> bool:
        """Obtain a lease and an idle connection; False when there is a wait for either, and then the claim stands."""
        hub = self._hub
        lease = self._claim.ask()
        if lease is None:
            return False
        upstream = hub.upstreams[lease.backend.name]
        connection = upstream.take(self._client.wakeup) if upstream.config.send_proxy is None else None
        if connection is None:
            return False
        self._connection = connection
        return True

    def _send_request(self) -> bool:
        """Send head and body with one system call, and wait for the reply; False with the connection closed.

        It was dead then already, or took only a part of the request, on which no backend acts.
        """
        hub, client, head, connection = self._hub, self._client, self._head, self._connection
        record = self._record = Record(
            client.address, head.request_id or hub.new_request_id(), head.method, head.target
        )
        record.began = record.asked = record.leased = record.connected = self._claim.arrived_at
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

    def _abandon(self) -> None:
        """The balancer ends while the backend computes."""
        record = self._record
        self._connection.channel.close()
        self._claim.settle(Outcome.CLIENT_LEFT)
        record.ending = "cancelled"
        self._log()

    def _log(self) -> None:
        record = self._record
        record.backend = self._connection.upstream.config.name
        record.attempts = 1
        record.bytes_in = self._head.content_length
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
            reply = self._hub.replies.parse(data[:end], self._head.method)
        except ReplyError:
            return None
        has_length = reply.framing is Framing.LENGTH or reply.framing is Framing.NONE
        if not has_length or not FIRST_FINAL <= reply.status < FIRST_ERROR or len(data) - end != reply.content_length:
            return None
        return reply

    async def _answer(self, reply: ReplyHead, data: bytes) -> bool:
        """Free the backend first, then give the client its answer, however slowly it reads."""
        hub, client, head, record = self._hub, self._client, self._head, self._record
        record.answered = time.monotonic()
        self._free_backend(reply)
        client.inbox = client.inbox[head.content_length :]
        persists = head.keep_alive and not hub.draining
        body = data[len(data) - reply.content_length :] if reply.content_length else b""
        own = own_fields(record, record.answered)
        message = reply.forwarded(minor=head.minor, close=not persists, extra=own) + body
        try:
            sent = client.channel.send(message)
            record.status = reply.status
            if sent < len(message):
                client.allow(hub.timeouts.idle_s)
                await client.send_all(message[sent:])
            record.bytes_out = reply.content_length
        except (OSError, ClientGone):
            record.ending = "client_left"
            persists = False
        finally:
            self._log()
        if not persists and (client.inbox or client.channel.readable):
            await client.linger()
        return persists

    def _free_backend(self, reply: ReplyHead) -> None:
        connection = self._connection
        connection.channel.readable = False  # see `presume_empty`
        if reply.keep_alive:
            connection.bytes_sent += self._sent
            connection.upstream.give_back(connection)
        else:
            connection.channel.close()
        if self._claim.lease is not None:
            self._claim.lease.answered_at = self._record.answered
        self._claim.settle(OUTCOMES.get(reply.status // 100, Outcome.SERVED))
