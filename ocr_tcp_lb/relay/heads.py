"""The heads of one client's requests, one after the other: read as far as they are there, and parsed."""

import time
from typing import Final

from ocr_tcp_lb.config import KIB
from ocr_tcp_lb.relay.buffers import scratch_view
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.failures import ClientGone
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.reservoir import SMALLEST_BYTES
from ocr_tcp_lb.wire.boundary import head_end
from ocr_tcp_lb.wire.errors import RequestError
from ocr_tcp_lb.wire.head import RequestHead

# Since a client connected or had its last reply; who is quieter has nothing on its way. The kernel sends a lost packet
# again after 0.2 s (Linux: TCP_RTO_MIN). nginx has such a time, too, but 0 by default (keepalive_min_timeout).
LAST_CALL_S: Final = 1.0

# What comes along with a head is copied four times; the rest of a large body is not (300 KB: 7 % less).
LEAN_BYTES: Final = 4 * KIB


class HeadReader:
    """Reads heads; what was read beyond one waits in the client's inbox."""

    __slots__ = ("_client", "_hub", "_is_first", "_is_lean", "_seen", "_was_last_called")

    def __init__(self, hub: Hub, client: Client) -> None:
        self._hub = hub
        self._client = client
        self._seen = 0  # bytes of an incomplete head that were looked at
        self._is_first = True
        self._is_lean = False  # the last body was large, so that probably the next one is, too
        self._was_last_called = False

    def next(self) -> RequestHead | None:
        """The next request's head, or None: then the wake-up is set.

        Raises RequestError, and ClientGone when all is done.
        """
        hub, client = self._hub, self._client
        channel, data = client.channel, client.inbox
        while True:
            if data:
                if end := head_end(data, hub.limits.head_bytes, self._seen):
                    self._seen = 0
                    self._is_first = False
                    client.inbox = data[end:]
                    channel.readable = False  # see `presume_empty`
                    head = hub.requests.parse(data[:end])
                    self._is_lean = head.content_length >= SMALLEST_BYTES
                    return head
                if not self._seen:
                    client.allow(hub.timeouts.head_s)
                self._seen = len(data)
            came_before_the_end = hub.is_draining and channel.unread_bytes()
            if not (channel.readable or came_before_the_end):
                self._prepare_to_wait()
                return None
            try:
                received = channel.receive_into(hub.head_room[:LEAN_BYTES] if self._is_lean else hub.head_room)
            except OSError as error:
                raise ClientGone(str(error)) from error
            if received == 0:
                raise ClientGone("the client closed")
            if received is not None:
                data += bytes(scratch_view[:received])
                client.inbox = data

    def _prepare_to_wait(self) -> None:
        client = self._client
        if client.expired:
            if client.inbox:
                raise RequestError(408, "head_timeout", "the request's head did not arrive in time")
            raise ClientGone("no further request in time")
        if self._hub.is_draining and not client.inbox:
            self._call_for_the_last()
        if not client.channel.is_watched:
            client.channel.want_read()

    def _call_for_the_last(self) -> None:
        """The balancer ends: a request that is on its way is served, but who has been quiet for a while is let go."""
        client, timeouts = self._client, self._hub.timeouts
        if not self._was_last_called:
            self._was_last_called = True
            allowed_s = timeouts.head_s if self._is_first else timeouts.idle_s
            client.shorten(allowed_s, min(LAST_CALL_S, timeouts.drain_s / 2))  # half: before it is cut off
        if client.deadline <= time.monotonic():
            raise ClientGone("the balancer ends, and the client has no request under way")
