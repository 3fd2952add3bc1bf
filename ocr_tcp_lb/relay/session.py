"""One client's connection as a sentence: read a head, serve the request, and again, until either side is done."""

import logging
import time

from ocr_tcp_lb.relay.buffers import scratch_view
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.express import Ride
from ocr_tcp_lb.relay.failures import ClientGone
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.wire.boundary import head_end
from ocr_tcp_lb.wire.errors import RequestError
from ocr_tcp_lb.wire.head import RequestHead
from ocr_tcp_lb.wire.replies import error_reply

log = logging.getLogger(__name__)


class Session:
    """The requests of one client, one after the other, in one coroutine."""

    __slots__ = ("_client", "_hub")

    def __init__(self, hub: Hub, client: Client) -> None:
        self._hub = hub
        self._client = client

    async def run(self) -> None:
        """Serve requests until the connection ends; closes it, whatever happens."""
        hub, client = self._hub, self._client
        hub.deadlines.guard(client)
        limit_s = hub.timeouts.head_s
        try:
            while (head := await self._next_head(limit_s)) is not None:
                if not await Ride(hub, client, head).run():
                    break
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
        hub, client, channel = self._hub, self._client, self._client.channel
        data, client.inbox = client.inbox, b""
        client.allow(limit_s)
        seen = 0
        while True:
            if data:
                if end := head_end(data, hub.limits.head_bytes, seen):
                    client.inbox = data[end:]
                    channel.readable = False  # see `presume_empty`
                    return hub.requests.parse(data[:end])
                if not seen:
                    client.allow(hub.timeouts.head_s)
                seen = len(data)
            while not channel.readable:
                if client.expired:
                    if not data:
                        return None
                    raise RequestError(408, "head_timeout", "the request's head did not arrive in time")
                if hub.draining and not data:
                    return None
                if not channel.is_watched:
                    channel.want_read()
                await client.wakeup
            try:
                received = channel.receive_into(hub.head_room)
            except OSError as error:
                raise ClientGone(str(error)) from error
            if received is None:
                continue
            if received == 0:
                return None
            data += bytes(scratch_view[:received])

    async def _refuse(self, error: RequestError) -> None:
        """Answer a head that was no request; nothing behind it is ever interpreted."""
        hub, client = self._hub, self._client
        request_id = hub.new_request_id()
        record = Record(client.address, request_id)
        record.began = time.monotonic()
        record.ending = error.code
        try:
            await client.dismiss(error_reply(error.status, error.code, error.message, request_id))
            record.status = error.status
        except ClientGone:
            pass
        finally:
            record.ended = time.monotonic()
            hub.on_record(record)
