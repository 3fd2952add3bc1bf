"""A body that came whole along with its head, as small ones do: the same face as `Upload`, with nothing to wait for."""

from ocr_tcp_lb.relay.failures import SinkBroke
from ocr_tcp_lb.relay.readiness import Buffer, Channel
from ocr_tcp_lb.relay.splice import Pipes


class HeldBody:
    """The body of one request; `over` once the backend of the current attempt took all of it."""

    whole = True
    is_replayable = True
    streams = False

    __slots__ = ("_body", "_outgoing", "_surplus", "bytes_sent", "over")

    def __init__(self, first: bytes, length: int) -> None:
        """Take the body, of this length, off the front of what came behind the head."""
        self._body = first[:length]
        self._outgoing: Buffer = b""
        self.bytes_sent = 0
        self.over = False
        self._surplus = first[length:]

    @property
    def bytes_taken(self) -> int:
        """The body's length: all of it was taken from the client."""
        return len(self._body)

    @property
    def is_blocked_by_backend(self) -> bool:
        """Whether bytes wait here that the backend did not take yet."""
        return not self.over

    def take_surplus(self) -> bytes:
        """Bytes behind the body: the client's next request; given out once."""
        surplus, self._surplus = self._surplus, b""
        return surplus

    def start(self, head: bytes) -> None:
        """Begin an attempt: this head, then the body."""
        self.over = False
        self.bytes_sent = 0
        self._outgoing = head + self._body if self._body else head

    def was_sent(self, sent: int, unsent: bytes = b"") -> None:
        """It was sent elsewhere, with its head: `sent` bytes, but for the unsent rest, which is `pump`'s to send."""
        self.bytes_sent = sent
        self._outgoing = unsent
        self.over = not unsent

    def pump(self, backend: Channel, pipes: Pipes) -> bool:
        """Send what is left; raises SinkBroke."""
        try:
            sent = backend.send(self._outgoing)
        except OSError as error:
            raise SinkBroke(str(error)) from error
        self.bytes_sent += sent
        if sent == len(self._outgoing):
            self.over = True
        else:
            self._outgoing = memoryview(self._outgoing)[sent:]
        return False

    def close(self) -> None:
        """Nothing is to be given back."""
