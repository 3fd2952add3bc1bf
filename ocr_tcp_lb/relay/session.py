"""One client's connection as a sentence: read a head, serve the request, and again, until either side is done.

Everything that a request usually needs is done by plain calls, `HeadReader.next` and the steps of a `Ride`, which act
at once or say that there is something to wait for. So a request in the express lane is one wait in `run` itself: a
coroutine awaited for each step took 1.5 us more.
"""

import logging
from asyncio import CancelledError
from collections.abc import Coroutine
from typing import Any

from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.exchange import Exchange
from ocr_tcp_lb.relay.express import Ride
from ocr_tcp_lb.relay.failures import ClientGone, Refusal
from ocr_tcp_lb.relay.gathering import Gathering, is_to_come
from ocr_tcp_lb.relay.heads import HeadReader
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.talk import linger, refuse, send_all
from ocr_tcp_lb.wire.errors import RequestError
from ocr_tcp_lb.wire.head import RequestHead

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
        heads = HeadReader(hub, client)
        hub.deadlines.guard(client)
        client.allow(hub.timeouts.head_s)
        try:
            persists = True
            while persists:
                while (head := heads.next()) is None:
                    await client.wakeup
                gathering = await self._gather(head) if is_to_come(head, client.inbox) else None
                ride = Ride(hub, client, head, gathering)
                if ride.depart():
                    try:
                        while not ride.has_news():
                            await client.wakeup
                        has_arrived = ride.arrive()
                    except BaseException as error:
                        ride.abandon("cancelled" if isinstance(error, CancelledError) else "internal_error")
                        raise
                    persists = has_arrived or await self._go_on(ride)
                else:
                    persists = await self._exchange(ride)
                client.allow(hub.timeouts.idle_s)
                del ride, gathering, head  # or an idle client would keep its last exchange: 2.3 KiB
        except RequestError as error:
            await refuse(hub, client, Refusal(error.status, error.code, error.message))
        except ClientGone:
            pass
        except Exception:
            log.exception("unexpected error on the connection of %s", client.address)
        finally:
            client.close()

    async def _gather(self, head: RequestHead) -> Gathering:
        """Wait for the body, as much as may be held."""
        gathering = Gathering(self._hub, self._client, head)
        try:
            while not gathering.step():
                await self._client.wakeup
        except BaseException as error:  # the Exchange will raise it again
            gathering.fail(error)
        return gathering

    def _exchange(self, ride: Ride) -> Coroutine[Any, Any, bool]:
        """Go the whole way; True when the client's connection may carry another request."""
        record = ride.record if ride.begun is not None else None
        exchange = Exchange(self._hub, self._client, ride.head, ride.gathering, record)
        return exchange.run(ride.claim, ride.begun)

    async def _go_on(self, ride: Ride) -> bool:
        """Do what the ride could not do at once; True when the client's connection may carry another request."""
        client = self._client
        if ride.begun is not None:
            return await self._exchange(ride)
        if ride.unsent:
            await self._deliver(ride)
        if not (ride.persists or client.channel.is_closed) and (client.inbox or client.channel.readable):
            await linger(client)
        return ride.persists

    async def _deliver(self, ride: Ride) -> None:
        """Wait for a client that reads slowly."""
        client, ending, idle_s = self._client, "cancelled", self._hub.timeouts.idle_s
        try:
            client.allow(idle_s)
            await send_all(client, ride.unsent, idle_s)
            ending = "ok"
        except ClientGone:
            ending = "client_left"
        finally:
            if ending != "ok":
                client.break_off()  # a reply that was cut must not look like one that ended
            ride.end(ending)
