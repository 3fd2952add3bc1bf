"""A small reply held until it is whole: if it breaks off, the client has seen nothing and another backend may be asked.

An error is held, too: the client gets it if nobody else can be asked after all. The memory is counted by whoever holds
it; see `Slabs.reserve`.
"""

from ocr_tcp_lb.relay.readiness import Buffer
from ocr_tcp_lb.wire.head import ReplyHead


class HeldReply:
    """The head, and the body as far as it came."""

    __slots__ = ("body", "head", "is_kept")

    def __init__(self, head: ReplyHead, body: bytearray) -> None:
        self.head = head
        self.body = body
        self.is_kept = False  # longer than its attempt, by somebody who gives the memory back

    def take(self, data: Buffer) -> bool:
        """Add bytes; True when the body is whole. What came behind its end is in `body` too."""
        self.body += data
        return len(self.body) >= self.head.content_length
