"""Whether those who are to read still do, where the kernel is silent about it.

A socket is reported writable only once a third of what its kernel holds has drained. Of 4 MB that takes a slow reader
minutes in which nothing seems to move; but what was not acknowledged yet (SIOCOUTQ) tells of every byte.
"""

from typing import Final

from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.readiness import Channel

FIRST_LOOK: Final = 0.25  # of the time limit; what was on its way to the reader's kernel has arrived by then


class Readers:
    """Who is to read, and how much they had left when last looked at; the deadline is their client's."""

    __slots__ = ("_channels", "_client", "_left")

    def __init__(self, client: Client, *channels: Channel) -> None:
        self._client = client
        self._channels = channels
        self._left: list[int] | None = None  # unknown since bytes were moved

    def allow(self, idle_s: float) -> None:
        """Bytes were moved: they have so long from now to read some, or to let something else move."""
        self._left = None
        self._client.allow(idle_s * FIRST_LOOK)

    def still_read(self, idle_s: float) -> bool:
        """The deadline has passed: whether it was renewed. False: nobody has read anything for so long."""
        had, left = self._left, [channel.unsent_bytes() for channel in self._channels]
        self._left = left
        if had is None:
            self._client.allow(idle_s * (1 - FIRST_LOOK))
            return True
        if not any(now < before for now, before in zip(left, had, strict=True)):
            return False
        self._client.allow(idle_s)
        return True
