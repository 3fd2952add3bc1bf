"""Bytes both ways between two sockets until both sides have ended: after 101 Switching Protocols, and in TCP mode.

Each direction ends on its own (half-close): the end of one side is passed on to the other as FIN, and the
opposite direction goes on. The idle time-out covers both directions together.
"""

from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.failures import SinkBroke, SourceBroke
from ocr_tcp_lb.relay.flow import Flow
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.readiness import Channel
from ocr_tcp_lb.wire.head import Framing


class Tunnel:
    """Two flows that know no framing."""

    __slots__ = ("_backend", "_client", "_down", "_hub", "_moved", "_up", "idled_out")

    def __init__(self, hub: Hub, client: Client, backend: Channel) -> None:
        self._hub = hub
        self._client = client
        self._backend = backend
        self._up = Flow(client.channel, backend, hub.pipes, Framing.UNTIL_CLOSE)
        self._down = Flow(backend, client.channel, hub.pipes, Framing.UNTIL_CLOSE)
        self._moved = -1
        self.idled_out = False

    @property
    def bytes_in(self) -> int:
        """Bytes that the backend took from the client."""
        return self._up.moved

    @property
    def bytes_out(self) -> int:
        """Bytes that the client took from the backend."""
        return self._down.moved

    async def run(self, from_client: bytes = b"", from_backend: bytes = b"") -> None:
        """Pass bytes on, those read already first, until both directions ended, one broke, or none moved for long."""
        client, backend = self._client, self._backend
        self._up.begin(b"", from_client)
        self._down.begin(b"", from_backend)
        client.channel.readable = backend.readable = True
        try:
            while True:
                more = self._pump(self._up)
                more = self._pump(self._down) or more
                if self._up.done and self._down.done:
                    return
                moved = self._up.moved + self._down.moved
                if moved != self._moved:
                    self._moved = moved
                    client.allow(self._hub.timeouts.idle_s)
                if more:
                    client.wakeup.fire_soon()
                await client.wakeup
                if client.expired:
                    self.idled_out = True
                    return
        except (SourceBroke, SinkBroke):
            # A reset is passed on as a reset, both ways: a stream that was cut must not look as if it had ended.
            client.channel.reset_on_close()
            backend.reset_on_close()
        finally:
            self._up.close()
            self._down.close()

    @staticmethod
    def _pump(flow: Flow) -> bool:
        """Move what can move, and ask for what it takes to go on."""
        if flow.done:
            return False
        more = flow.pump()
        if flow.done:
            flow.sink.finish_sending()
        elif flow.is_blocked_by_sink:
            flow.sink.want_write()
        elif not flow.source.is_watched:
            flow.source.want_read()
        return more
