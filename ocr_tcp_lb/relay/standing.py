"""What the fleet is told of a backend while an attempt goes on: that it is not silent, and that it is well."""

import asyncio

from ocr_tcp_lb.balance.lease import Lease
from ocr_tcp_lb.relay.hub import Hub


class Standing:
    """How the backend of one attempt stands; to be taken back before the lease is settled."""

    __slots__ = ("_hub", "_is_long", "_lease", "_proof")

    def __init__(self, hub: Hub, lease: Lease) -> None:
        self._hub = hub
        self._lease = lease
        self._is_long = False
        self._proof: asyncio.TimerHandle | None = None  # that the backend is well, when it comes

    def go_on(self) -> None:
        """It may go on for long: nobody is to think that the backend hangs."""
        if not self._is_long:
            self._is_long = True
            self._hub.begin_reply(self._lease)

    def prove_soon(self) -> None:
        """Take the backend for well after a while, unless it is taken back: what breaks has mostly broken by then."""
        if self._proof is None:
            self._proof = self._hub.prove_after_a_while(self._lease)

    def take_back(self) -> None:
        """Nothing of it holds any more; safe at any time."""
        if self._proof is not None:
            self._proof.cancel()
            self._proof = None
        if self._is_long:
            self._is_long = False
            self._hub.end_reply(self._lease)
