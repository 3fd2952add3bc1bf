"""One client's connection as a sentence: read a head, serve the request, and again, until either side is done."""

import logging
import socket
import time

from ocr_tcp_lb.relay.buffers import scratch_view
from ocr_tcp_lb.relay.client import LINGER_S, Client
from ocr_tcp_lb.relay.exchange import Exchange
from ocr_tcp_lb.relay.failures import ClientGone
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.wire.boundary import head_end
from ocr_tcp_lb.wire.errors import RequestError
from ocr_tcp_lb.wire.head import RequestHead
from ocr_tcp_lb.wire.replies import error_reply

log = logging.getLogger(__name__)


class Session:
    """The requests of one client, one after the other, in one task."""

    __slots__ = ("_hub", "client")

    def __init__(self, hub: Hub, sock: socket.socket, address: str) -> None:
        self._hub = hub
        self.client = Client(hub, sock, address)

    async def run(self) -> None:
        """Serve requests until the connection ends; closes it, whatever happens."""
        hub, client = self._hub, self.client
        hub.deadlines.guard(client)
        limit_s = hub.timeouts.head_s
        try:
            while (head := await self._next_head(limit_s)) is not None:
                client.is_between_requests = False
                if not await Exchange(hub, client, head).run():
                    break
                client.is_between_requests = True
                limit_s = hub.timeouts.idle_s
        except RequestError as error:
            await self._refuse(error)
        except ClientGone:
            pass
        except Exception:
            log.exception("unexpected error on the connection of %s", client.address)
        finally:
            client.close()

    async def _next_head(self, limit_s: float) -> RequestHead | None:
        """The next request's head; None when the client is done. Raises RequestError, ClientGone."""
        hub, client, channel = self._hub, self.client, self.client.channel
        data, client.inbox = client.inbox, b""
        client.allow(hub.timeouts.head_s if data else limit_s)
        while True:
            if data and (end := head_end(data, hub.limits.head_bytes)):
                client.inbox = data[end:]
                return hub.requests.parse(data[:end])
            if not data and hub.draining:
                return None
            if not channel.readable and not await client.wait_readable():
                if not data:
                    return None
                raise RequestError(408, "head_timeout", "the request's head did not arrive in time")
            try:
                received = channel.receive_into(scratch_view[: hub.limits.head_bytes])
            except OSError as error:
                raise ClientGone(str(error)) from error
            if received is None:
                continue
            if received == 0:
                return None
            if not data:
                client.allow(hub.timeouts.head_s)
            data += bytes(scratch_view[:received])

    async def _refuse(self, error: RequestError) -> None:
        """Answer a head that was no request; nothing behind it is ever interpreted."""
        hub, client = self._hub, self.client
        client.is_between_requests = False
        request_id = hub.new_request_id()
        record = Record(client.address, request_id)
        record.began = time.monotonic()
        record.ending = error.code
        try:
            client.allow(LINGER_S)
            await client.send_all(error_reply(error.status, error.code, error.message, request_id))
            record.status = error.status
            await client.linger()
        except ClientGone:
            pass
        finally:
            record.ended = time.monotonic()
            hub.on_record(record)
