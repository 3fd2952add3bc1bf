"""The client's side of a connection: its channel, what it sent ahead, its deadline, and ways to talk to it.

Bytes that arrive ahead of their time (pipelined requests) wait in `inbox`, at most one head limit of them.
"""

import socket

from ocr_tcp_lb.relay.buffers import scratch_view
from ocr_tcp_lb.relay.deadlines import NEVER
from ocr_tcp_lb.relay.failures import ClientGone
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.readiness import Channel, Wakeup
from ocr_tcp_lb.wire.head import Hop

LINGER_S = 5.0  # how long a refused client may take to read its answer (nginx: lingering_timeout 5 s)
RESET_ON_CLOSE = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # struct linger {on, 0 seconds}


class Client:
    """A connected client and the wake-up of the one task that serves it; guarded by the deadline sweep."""

    __slots__ = (
        "_hub",
        "address",
        "channel",
        "deadline",
        "expired",
        "hop",
        "inbox",
        "is_between_requests",
        "wakeup",
    )

    def __init__(self, hub: Hub, sock: socket.socket, address: str) -> None:
        self._hub = hub
        self.address = address
        self.wakeup = Wakeup(hub.loop)
        self.channel = Channel(hub.loop, sock, self.wakeup)
        self.channel.readable = True  # worth a try: with deferred accepts the head is often there already
        self.hop = Hop(address.encode("ascii", "replace"), False, b"http", b"localhost")
        self.inbox = b""
        self.deadline = NEVER
        self.expired = False
        self.is_between_requests = True

    def __repr__(self) -> str:
        return f"<Client {self.address} {self.channel!r}>"

    def allow(self, seconds: float) -> None:
        """Set the deadline this far from now."""
        self.deadline = self._hub.loop.time() + seconds
        self.expired = False

    async def wait_readable(self) -> bool:
        """Wait for bytes or an end; False when the deadline passed first."""
        channel = self.channel
        while not channel.readable:
            if self.expired or (self._hub.draining and self.is_between_requests):
                return False
            channel.want_read()
            await self.wakeup
        return True

    def notice_departure(self) -> None:
        """While the client has nothing to do but wait, see whether it still does.

        What it sends ahead is kept. Raises ClientGone when it closed or broke off.
        """
        channel = self.channel
        room = self._hub.limits.head_bytes
        while channel.readable and len(self.inbox) < room:
            try:
                received = channel.receive_into(scratch_view[: room - len(self.inbox)])
            except OSError as error:
                raise ClientGone(str(error)) from error
            if received is None:
                return
            if received == 0:
                raise ClientGone("the client closed")
            self.inbox += bytes(scratch_view[:received])

    async def send_all(self, data: bytes) -> None:
        """Send all of it, within the deadline; raises ClientGone when that cannot be."""
        channel = self.channel
        left = memoryview(data)
        while True:
            try:
                left = left[channel.send(left) :]
            except OSError as error:
                raise ClientGone(str(error)) from error
            if not left:
                return
            while not channel.writable:
                if self.expired:
                    raise ClientGone("the client does not read")
                channel.want_write()
                await self.wakeup

    async def linger(self) -> None:
        """Let the client read a last answer before the connection goes.

        Closing with unread bytes would make the kernel send a reset, which can destroy the answer on its way.
        """
        channel = self.channel
        channel.finish_sending()
        self.allow(LINGER_S)
        while await self.wait_readable():
            try:
                if channel.receive_into(scratch_view) == 0:
                    return
            except OSError:
                return

    def break_off(self) -> None:
        """Close with a reset, so that a reply which was cut short can't pass for one that ended."""
        if not self.channel.is_closed:
            self.channel.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.close()

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        self._hub.deadlines.release(self)
        self.channel.close()

    def hurry(self) -> None:
        """The balancer is draining: a connection that waits for its next request ends now."""
        if self.is_between_requests:
            self.wakeup.fire_soon()
