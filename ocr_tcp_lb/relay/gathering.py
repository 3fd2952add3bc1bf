"""A request's body on its way in, before any backend is bothered: taken in as far as it may be held.

A step takes what is there and never waits; the session waits between two. A body that came whole along with its head
needs none of this. Whatever goes wrong is kept as `failure`, for the Exchange to tell, as all endings are told there.
"""

import time

from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.failures import ClientGone, SourceBroke
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.upload import Upload
from ocr_tcp_lb.wire.errors import RequestError, body_too_slow
from ocr_tcp_lb.wire.framing import Framing
from ocr_tcp_lb.wire.head import RequestHead
from ocr_tcp_lb.wire.replies import CONTINUE_REPLY


def is_to_come(head: RequestHead, inbox: bytes) -> bool:
    """Whether bytes of the body, or the end of a chunked one, are still to be read."""
    return head.content_length > len(inbox) or head.framing is Framing.CHUNKED


def passes_expectation(hub: Hub, head: RequestHead) -> bool:
    """Whether `Expect: 100-continue` is the backend's to answer: the body is more than we would hold anyway."""
    return (
        head.expects_continue
        and head.framing is Framing.LENGTH
        and head.content_length > hub.limits.request_buffer_bytes
    )


class Gathering:
    """The body of one request, from its head until a backend may be asked for."""

    __slots__ = ("_client", "_hub", "_is_over", "began_at", "failure", "upload")

    def __init__(self, hub: Hub, client: Client, head: RequestHead) -> None:
        self._hub = hub
        self._client = client
        self._is_over = False
        self.began_at = time.monotonic()
        self.failure: BaseException | None = None
        self.upload: Upload | None = None  # None: it was refused at once
        try:
            upload = self.upload = Upload(client.channel, head, client.inbox, hub.slabs, hub.reservoirs, hub.limits)
            self._begin(upload, head)
        except (RequestError, ClientGone) as error:
            self.fail(error)

    def _begin(self, upload: Upload, head: RequestHead) -> None:
        client = self._client
        client.inbox = upload.take_surplus()
        client.allow(self._hub.timeouts.idle_s)
        if not head.expects_continue:
            return
        if passes_expectation(self._hub, head):
            self._is_over = True
        elif not upload.gathered:
            self._invite()

    def _invite(self) -> None:
        """Ask for the body; a client that has no room for 25 bytes does not read."""
        try:
            sent = self._client.channel.send(CONTINUE_REPLY)
        except OSError as error:
            raise ClientGone(str(error)) from error
        if sent < len(CONTINUE_REPLY):
            raise ClientGone("the client does not read")

    @property
    def is_whole(self) -> bool:
        """Whether all of the body is here."""
        return self.failure is None and self.upload is not None and self.upload.whole

    @property
    def bytes_taken(self) -> int:
        """How many bytes of the body came so far."""
        return self.upload.bytes_taken if self.upload is not None else 0

    def step(self) -> bool:
        """Take in what is there; True when the time has come to go on, for better or worse, else the wake-up is set."""
        upload, client = self.upload, self._client
        if self._is_over or upload is None:
            return True
        channel = client.channel
        try:
            if channel.readable:
                if upload.gather():
                    client.inbox = upload.take_surplus() or client.inbox
                    return True
                client.allow(self._hub.timeouts.idle_s)
            elif client.expired:
                raise body_too_slow()
        except RequestError as refusal:
            self.fail(refusal)
            return True
        except SourceBroke as error:
            self.fail(ClientGone(str(error)))
            return True
        if channel.readable:  # it sends faster than we understand: others have their turn
            client.wakeup.fire_soon()
        else:
            channel.want_read()
        return False

    def fail(self, error: BaseException) -> None:
        """Note why there is no body to go on with."""
        self._is_over = True
        self.failure = error

    def close(self) -> None:
        """Give all memory back."""
        if self.upload is not None:
            self.upload.close()
