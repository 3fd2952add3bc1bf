"""L4 mode: a connection is the unit; it gets a backend and is passed on as it is, both ways, until it ends."""

import logging
import time

from ocr_tcp_lb.balance.lease import Outcome
from ocr_tcp_lb.relay.claim import Claim
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.failures import AttemptFailed, ClientGone, Refusal
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.introduction import header_for
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.relay.tunnel import Tunnel
from ocr_tcp_lb.relay.upstream import BackendConnection

log = logging.getLogger(__name__)


class TcpSession:
    """One client's connection in L4 mode, in one coroutine."""

    __slots__ = ("_client", "_hub", "_record")

    def __init__(self, hub: Hub, client: Client) -> None:
        self._hub = hub
        self._client = client
        self._record = Record(client.address, hub.new_request_id(), b"TCP")
        self._record.began = time.monotonic()

    async def run(self) -> None:
        """Find a backend, pass bytes until both sides have ended, log; closes the connection, whatever happens."""
        hub, client, record = self._hub, self._client, self._record
        hub.deadlines.guard(client)
        claim = Claim(hub, client, None)
        record.asked = claim.arrived_at
        try:
            while not await self._attempt(claim):
                pass
        except Refusal as refusal:
            record.ending = refusal.code
        except ClientGone:
            record.ending = "client_left"
        except Exception:
            log.exception("unexpected error on the connection of %s", client.address)
        finally:
            client.close()
            record.ended = time.monotonic()
            hub.on_record(record)

    async def _attempt(self, claim: Claim) -> bool:
        """Try one backend; False when it cannot be reached and another may be tried."""
        record = self._record
        lease = await claim.obtain(watch_client=False)
        record.leased = time.monotonic()
        record.attempts += 1
        record.backend = lease.backend.name
        outcome = Outcome.CLIENT_LEFT
        try:
            connection = await self._connect(lease.backend.name)
            self._hub.prove(lease)
            self._hub.begin_reply(lease)
            try:
                await self._pass_on(connection)
            finally:
                self._hub.end_reply(lease)
            outcome = Outcome.SERVED
            return True
        except AttemptFailed as error:
            failure, outcome = error, error.outcome
        finally:
            claim.settle(outcome)
        if not claim.may_try_another(failure, may_run_twice=False):
            raise failure.as_refusal() from failure
        return False

    async def _connect(self, name: str) -> BackendConnection:
        client = self._client
        client.allow(self._hub.timeouts.connect_s)
        return await self._hub.upstreams[name].connect(client.wakeup, lambda: client.expired)

    async def _pass_on(self, connection: BackendConnection) -> None:
        client, record = self._client, self._record
        record.connected = time.monotonic()
        tunnel = Tunnel(self._hub, client, connection.channel)
        try:
            version = connection.upstream.config.send_proxy
            introduction = header_for(client, version) if version else b""
            await tunnel.run(introduction + client.inbox)
        finally:
            connection.channel.close()
            record.bytes_in, record.bytes_out = tunnel.bytes_in, tunnel.bytes_out
            if tunnel.idled_out:
                record.ending = "idle_timeout"
