"""One request and its answer: obtain a lease, attempt, again where that is safe, settle, log.

However it ends, it passes the one ending in `run`: memory is given back and one record is written. A lease is settled
exactly once, on cancellation too, by whoever holds it when its attempt ends: `_serve` as a rule; `run` if nothing was
attempted, `waiting` if it came too late, `express` and `runner` for their own.

An error that was kept from the client, in the hope of a better answer, is given if nobody else can be asked after all.
"""

import asyncio
import time
from typing import NamedTuple

from ocr_tcp_lb.balance.lease import Lease
from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.relay.attempt import Attempt
from ocr_tcp_lb.relay.claim import Claim
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.failures import AttemptFailed, ClientGone, Refusal, ReplyBroken
from ocr_tcp_lb.relay.gathering import Gathering
from ocr_tcp_lb.relay.hedge import HedgedAttempt
from ocr_tcp_lb.relay.held_body import HeldBody
from ocr_tcp_lb.relay.held_reply import HeldReply
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.relay.request import Begun, Request, added_fields
from ocr_tcp_lb.relay.talk import linger, send_all
from ocr_tcp_lb.relay.upload import Upload
from ocr_tcp_lb.relay.waiting import obtain
from ocr_tcp_lb.wire.errors import RequestError, too_large
from ocr_tcp_lb.wire.head import RequestHead
from ocr_tcp_lb.wire.replies import error_reply


class Kept(NamedTuple):
    """An error reply, with what the record said of its attempt."""

    reply: HeldReply
    backend: str
    asked: float
    leased: float
    connected: float
    answered: float


class Exchange:
    """One request of one client, from its parsed head, and what was gathered of its body, to its log record."""

    __slots__ = ("_client", "_gathering", "_head", "_hub", "_kept", "_persists", "_record", "_upload")

    def __init__(
        self, hub: Hub, client: Client, head: RequestHead, gathering: Gathering | None, record: Record | None = None
    ) -> None:
        """Take the request; with the record (and so the id) of the express lane, where it went out already."""
        self._hub = hub
        self._client = client
        self._head = head
        self._gathering = gathering  # None: all of the body came along with the head
        self._upload: HeldBody | Upload | None = None
        self._kept: Kept | None = None
        self._persists = False
        self._record = record or Record(
            client.asker(head), head.request_id or hub.new_request_id(), head.method, head.target
        )

    async def run(self, claim: Claim | None = None, begun: Begun | None = None) -> bool:
        """Serve the request; True when the client's connection may carry another one.

        What the express lane began is taken up: its claim, be it a lease or a place in the queue, and its attempt.
        """
        record = self._record
        try:
            record.began = self._began(claim)
            request = self._receive(begun)
            claim = claim or Claim(self._hub, self._client, self._head)
            try:
                await self._serve(request, claim, begun)
            except Refusal:
                if self._kept is None:
                    raise
                await self._give(self._kept)
            await self._part(request)
        except (RequestError, Refusal) as refusal:
            if record.answered:  # a reply is under way already: a second one would be taken for a part of it
                record.ending = refusal.code
                self._cut_short()
            else:
                await self._refuse(refusal)
        except ClientGone:
            record.ending = "client_left"
        except ReplyBroken:
            record.ending = "broken_reply"
            self._cut_short()
        except asyncio.CancelledError:
            record.ending = "cancelled"
            self._cut_short()
            raise
        except Exception:
            record.ending = "internal_error"  # a mistake of ours, which the session logs
            self._cut_short()
            raise
        finally:
            if claim is not None and claim.lease is not None:  # it failed before an attempt could take it up
                claim.settle(Outcome.CLIENT_LEFT)
                if begun is not None:
                    begun.connection.channel.close()
            self._end()
        return self._persists

    def _end(self) -> None:
        record, upload = self._record, self._upload
        if upload is not None:
            record.bytes_in = record.bytes_in or upload.bytes_taken
            upload.close()
        self._keep(None)
        record.ended = record.ended or time.monotonic()
        self._hub.on_record(record)

    def _began(self, claim: Claim | None) -> float:
        if self._gathering is not None:
            return self._gathering.began_at
        return time.monotonic() if claim is None else claim.arrived_at

    def _receive(self, begun: Begun | None) -> Request:
        """Take over the body; raises what went wrong while it was gathered."""
        hub, client, head, gathering = self._hub, self._client, self._head, self._gathering
        if gathering is not None:
            self._upload = gathering.upload
            if gathering.failure is not None:
                raise gathering.failure
        if self._upload is None:
            if begun is None and head.content_length > hub.limits.body_bytes:  # else it was within them
                raise too_large(hub.limits.body_bytes)
            self._upload = HeldBody(client.inbox, head.content_length)
            client.inbox = self._upload.take_surplus()
            if begun is not None:
                self._upload.was_sent(begun.sent, begun.unsent)
        return Request(hub, client, head, self._upload, self._record)

    async def _serve(self, request: Request, claim: Claim, begun: Begun | None = None) -> None:
        """Try one backend after the other until one has answered, or no other may be tried."""
        record, upload = self._record, request.upload
        request.deadline = claim.deadline
        while True:
            lease = await obtain(claim, watch_client=upload.whole)
            request.lease = lease
            record.asked = claim.waits_since
            record.leased = lease.granted_at
            record.connected = 0.0  # by the attempt before, if there was one
            record.attempts += 1
            record.backend = lease.backend.name
            attempt = self._attempt(request, claim, lease)
            outcome = Outcome.CLIENT_LEFT
            try:
                outcome = await attempt.run(begun)
                self._persists = attempt.client_persists
                break
            except AttemptFailed as error:
                failure, outcome = error, error.outcome
                if outcome is not Outcome.CONNECT_FAILED and outcome is not Outcome.STALE:
                    self._keep(error.reply)
            except ReplyBroken:
                outcome = Outcome.BROKE
                raise
            except ClientGone:
                self._cut_short()
                await attempt.outlive_client()
                raise
            finally:
                begun = None
                attempt.close()
                if claim.lease is not None:  # else those of a hedged attempt are taken care of
                    claim.settle(outcome)
            if not (upload.is_replayable and claim.may_try_another(failure, may_run_twice=request.may_run_twice)):
                raise failure.as_refusal() from failure

    async def _part(self, request: Request) -> None:
        """The reply is out: let a client read it whose connection ends with it."""
        self._record.ended = time.monotonic()
        client = self._client
        if self._persists or client.channel.is_closed:
            return
        if not request.upload.over or client.inbox or client.channel.readable:
            await linger(client)  # after the lease: a client that still sends holds no backend

    def _keep(self, reply: HeldReply | None) -> None:
        """Keep the error of the last attempt that had an end of its own, if it could be held, and no other."""
        if self._kept is not None:
            self._hub.slabs.release(self._kept.reply.head.content_length)
            self._kept = None
        if reply is not None:
            reply.is_kept = True
            record = self._record
            self._kept = Kept(
                reply, record.backend, record.asked, record.leased, record.connected, answered=time.monotonic()
            )

    async def _give(self, kept: Kept) -> None:
        """Nobody else could be asked: the client gets the error that was kept from it."""
        record, client, head, reply = self._record, self._client, self._head, kept.reply.head
        record.backend, record.asked, record.leased = kept.backend, kept.asked, kept.leased
        record.connected, record.answered, record.status = kept.connected, kept.answered, reply.status
        self._persists = self._may_persist()
        added = added_fields(self._hub, record, reply, kept.answered)
        body = kept.reply.body[: reply.content_length]
        message = reply.forwarded(minor=head.minor, close=not self._persists, extra=added) + body
        try:
            client.allow(self._hub.timeouts.idle_s)
            await send_all(client, message[client.ahead :], self._hub.timeouts.idle_s)
        except ClientGone:
            self._persists = False
            self._cut_short()
            raise
        client.ahead = 0
        record.bytes_out = len(body)

    def _may_persist(self) -> bool:
        """Whether the client may go on after a reply that no backend's connection is needed for."""
        return self._head.keep_alive and self._upload is not None and self._upload.whole and not self._hub.is_draining

    def _cut_short(self) -> None:
        """Close the client's connection, in a way that tells a reply that did not end from one that did."""
        if (self._record.answered or self._client.ahead) and not self._record.ended:
            self._client.break_off()
        else:
            self._client.hang_up()

    def _attempt(self, request: Request, claim: Claim, lease: Lease) -> Attempt | HedgedAttempt:
        hub, upstream = self._hub, self._hub.upstreams[lease.backend]
        if hub.config.hedge and request.may_run_twice and request.upload.whole:
            return HedgedAttempt(hub, request, upstream, claim)
        return Attempt(hub, request, upstream)

    async def _refuse(self, refusal: RequestError | Refusal) -> None:
        """Answer in the balancer's own name; the connection goes on only if nothing of the body is still to come."""
        record, client, head = self._record, self._client, self._head
        record.ending = refusal.code
        self._persists = isinstance(refusal, Refusal) and self._may_persist()  # if the request itself was sound
        reply = error_reply(
            refusal.status,
            refusal.code,
            refusal.message,
            record.request_id,
            minor=head.minor,
            close=not self._persists,
            head_only=head.method == b"HEAD",
            retry_after_s=refusal.retry_after_s if isinstance(refusal, Refusal) else None,
            extra=self._hub.date.line(time.monotonic()),
        )
        try:
            client.allow(self._hub.timeouts.idle_s)
            await send_all(client, reply[client.ahead :])
            client.ahead = 0
            record.status = refusal.status
            record.ended = time.monotonic()  # lingering is no part of the answer
            if not self._persists:
                await linger(client)
        except ClientGone:
            record.ending = "client_left"
            self._persists = False
