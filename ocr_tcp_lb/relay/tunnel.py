"""Bytes both ways between two sockets until both sides have ended: after 101 Switching Protocols, and in TCP mode.

Each direction ends on its own (half-close): the end of one side is passed on to the other as FIN, and the
opposite direction goes on. The idle time-out covers both directions together.

Whatever else ends a tunnel (a side that broke off, the idle time-out, the balancer's own end) resets each side that
has not been told the other's end: a stream that was cut must not look as if it had ended. One that did end is left to
the kernel, which brings it to whoever reads slowly. What a side said before it broke off is still passed on: the reset
behind it waits for whoever reads, because it would discard what the kernel still holds.
"""

import time
from typing import NamedTuple

from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.failures import SinkBroke, SourceBroke
from ocr_tcp_lb.relay.flow import Flow
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.readers import Readers
from ocr_tcp_lb.relay.readiness import Channel
from ocr_tcp_lb.wire.framing import Framing


class End(NamedTuple):
    """Which side ended first."""

    side: Channel
    in_order: bool  # by FIN, else it broke off
    at: float


class Tunnel:
    """Two flows that know no framing."""

    __slots__ = (
        "_backend",
        "_client",
        "_deaf",
        "_down",
        "_hearer",
        "_hub",
        "_moved",
        "_readers",
        "_up",
        "_whole",
        "broken_by",
        "first_end",
        "idled_out",
    )

    def __init__(self, hub: Hub, client: Client, backend: Channel) -> None:
        self._hub = hub
        self._client = client
        self._backend = backend
        self._up = Flow(client.channel, backend, hub.pipes, Framing.UNTIL_CLOSE)
        self._down = Flow(backend, client.channel, hub.pipes, Framing.UNTIL_CLOSE)
        self._whole: list[Flow] = []  # flows whose end was passed on
        self._deaf: Flow | None = None  # the flow whose sink takes no more
        self._hearer: Channel | None = None  # who is still to hear what the side that broke off had said
        self._moved = 0  # by both flows, as of the last step
        self._readers = Readers(client, client.channel, backend)
        self.broken_by: Channel | None = None  # the side that broke off first
        self.first_end: End | None = None
        self.idled_out = False

    @property
    def bytes_in(self) -> int:
        """Bytes that the backend took from the client."""
        return max(0, self._up.moved)

    @property
    def bytes_out(self) -> int:
        """Bytes that the client took from the backend."""
        return self._down.moved

    def begin(self, from_client: bytes, from_backend: bytes, introduction: bytes = b"") -> None:
        """Take what was read already; the `introduction` tells the backend who the client is, before all else."""
        self._up.begin(introduction, from_client)
        self._down.begin(b"", from_backend)
        self._client.channel.readable = self._backend.readable = True
        self._readers.allow(self._hub.timeouts.idle_s)

    def step(self) -> bool:
        """Move what can move; True when both directions have ended, a side broke off, or none moved for long.

        Else the wake-up is set.
        """
        client, up, down = self._client, self._up, self._down
        if client.expired and not self._readers.still_read(self._hub.timeouts.idle_s):
            self.idled_out = True
            self._hearer = None
            return True
        try:
            more = up.has_work and self._pump(up)
            more = (down.has_work and self._pump(down)) or more
        except SourceBroke:  # nothing comes from one side any more, and nothing can be brought there
            return True
        if self._is_over(up) and self._is_over(down):
            return True
        moved = up.moved + down.moved
        if moved != self._moved:
            self._moved = moved
            self._readers.allow(self._hub.timeouts.idle_s)
        if more:
            client.wakeup.fire_soon()
        return False

    def is_heard(self) -> bool:
        """After the last step: whether nobody reads any more what a side had said that broke off; else look again.

        Who does not read for as long as the idle time-out says has heard enough, and so has everybody in a drain.
        """
        hearer = self._hearer
        if hearer is None or self._hub.is_draining:
            return True
        if not hearer.unsent_bytes() or hearer.connection_error() is not None:
            return True
        if self._client.expired and not self._readers.still_read(self._hub.timeouts.idle_s):
            return True
        self._client.look_again()
        return False

    def close(self) -> None:
        """Give up what is held; a stream that did not end is cut in a way that cannot be mistaken for an end."""
        for flow in (self._up, self._down):
            if flow not in self._whole:
                flow.sink.reset_on_close()
            flow.close()

    def _is_over(self, flow: Flow) -> bool:
        return flow.done or flow is self._deaf

    def _pump(self, flow: Flow) -> bool:
        """Move what can move, and ask for what it takes to go on."""
        if self._is_over(flow):
            return False
        try:
            more = flow.pump()
        except SinkBroke as error:
            self._note_break(flow.sink)
            if self._deaf is not None:
                raise SourceBroke("neither side takes anything any more") from error
            self._deaf = flow
            flow.sink.readable = True  # its last words, or the reason, are there now
            self._client.wakeup.fire_soon()
            return False
        except SourceBroke:
            self._note_break(flow.source)
            raise
        if flow.done:
            self._note_end(flow.source, in_order=True)
            if self._deaf is None:  # else this end may be that of a reset, which is told only once
                flow.sink.finish_sending()
                self._whole.append(flow)
        elif flow.is_blocked_by_sink:
            flow.sink.want_write()
        elif not flow.source.is_watched:
            flow.source.want_read()
        return more

    def _note_break(self, side: Channel) -> None:
        if self.broken_by is None:
            self.broken_by = side
            self._hearer = self._backend if side is self._client.channel else self._client.channel
        elif side is not self.broken_by:
            self._hearer = None
        self._note_end(side, in_order=False)

    def _note_end(self, side: Channel, *, in_order: bool) -> None:
        if self.first_end is None:
            self.first_end = End(side, in_order, time.monotonic())
