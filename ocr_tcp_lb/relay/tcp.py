"""L4 mode: a connection is the unit; it gets a backend and is passed on as it is, both ways, until it ends."""

import asyncio
import logging
import time

from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.relay.claim import Claim
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.connecting import connect
from ocr_tcp_lb.relay.failures import AttemptFailed, ClientGone, Refusal
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.introduction import header_for
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.relay.standing import Standing
from ocr_tcp_lb.relay.talk import carry
from ocr_tcp_lb.relay.tunnel import Tunnel
from ocr_tcp_lb.relay.upstream import BackendConnection, Upstream
from ocr_tcp_lb.relay.waiting import obtain

log = logging.getLogger(__name__)

ABRUPT_S = 1.0  # no server gives up a client that is silent, or sends a head slowly, so soon


class TcpSession:
    """One client's connection in L4 mode, in one coroutine."""

    __slots__ = ("_client", "_hub", "_record")

    def __init__(self, hub: Hub, client: Client) -> None:
        self._hub = hub
        self._client = client
        self._record = Record(client.address, hub.new_request_id(), b"TCP")
        self._record.began = time.monotonic()

    async def run(self) -> None:
        """Find a backend, pass bytes until both sides have ended, log; closes the connection, whatever happens.

        Without a backend it is reset: an end would look as if somebody had taken the bytes and had nothing to say.
        """
        hub, client, record = self._hub, self._client, self._record
        hub.deadlines.guard(client)
        claim = Claim(hub, client, None)
        record.asked = claim.arrived_at
        try:
            while not await self._attempt(claim):
                pass
        except Refusal as refusal:
            record.ending = refusal.code
            client.break_off()
        except ClientGone:
            record.ending = "client_left"
        except asyncio.CancelledError:
            record.ending = "cancelled"
            client.break_off()
            raise
        except Exception:
            record.ending = "internal_error"
            client.break_off()
            log.exception("unexpected error on the connection of %s", client.address)
        finally:
            client.close()
            record.ended = time.monotonic()
            hub.on_record(record)

    async def _attempt(self, claim: Claim) -> bool:
        """Try one backend; False when it cannot be reached and another may be tried."""
        record = self._record
        lease = await obtain(claim, watch_client=False)
        record.leased = time.monotonic()
        record.attempts += 1
        record.backend = lease.backend.name
        outcome, standing = Outcome.CLIENT_LEFT, Standing(self._hub, lease)
        try:
            upstream = self._hub.upstreams[lease.backend]
            introduction = header_for(self._client, upstream.config.send_proxy)
            connection = await self._connect(upstream)
            standing.go_on()
            standing.prove_soon()  # not at once: something before a dead service may accept for it, and close
            outcome = await self._pass_on(connection, introduction)
            return True
        except AttemptFailed as error:
            failure, outcome = error, error.outcome
        finally:
            standing.take_back()
            claim.settle(outcome)
        if not claim.may_try_another(failure, may_run_twice=False):
            raise failure.as_refusal() from failure
        return False

    async def _connect(self, upstream: Upstream) -> BackendConnection:
        client = self._client
        client.allow(self._hub.timeouts.connect_s)
        return await connect(upstream, client.wakeup, lambda: client.expired)

    async def _pass_on(self, connection: BackendConnection, introduction: bytes) -> Outcome:
        client, record = self._client, self._record
        record.connected = time.monotonic()
        tunnel = Tunnel(self._hub, client, connection.channel)
        try:
            tunnel.begin(client.inbox, b"", introduction)
            await carry(tunnel, client)
        finally:
            connection.channel.close()
            client.close()  # as the tunnel has left it: a stream that was whole is not to be reset
            record.bytes_in, record.bytes_out = tunnel.bytes_in, tunnel.bytes_out
            if tunnel.idled_out:
                record.ending = "idle_timeout"
            elif tunnel.broken_by is not None:
                record.ending = "client_left" if tunnel.broken_by is client.channel else "backend_broke"
        return self._judge(tunnel)

    def _judge(self, tunnel: Tunnel) -> Outcome:
        """What came of it: a backend that said nothing is not fast, and if it was the one to end it may be broken."""
        record, end = self._record, tunnel.first_end
        if tunnel.bytes_out:
            return Outcome.SERVED
        if end is not None and end.side is not self._client.channel:
            if end.in_order and end.at - record.connected >= ABRUPT_S:
                return Outcome.CLIENT_LEFT  # the client said nothing, or not enough, and was given up
            record.ending = "backend_broke"
            return Outcome.HUNG_UP if end.in_order and tunnel.bytes_in else Outcome.BROKE
        has_listened = tunnel.bytes_in and record.ending == "ok"  # as a collector of logs does
        return Outcome.CLIENT_ERROR if has_listened else Outcome.CLIENT_LEFT  # well, but nothing is known of its speed
