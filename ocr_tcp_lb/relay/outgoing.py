"""What is held of a request, on its way to the backend of one attempt: its head, pieces, and a reservoir among them."""

from collections.abc import Sequence
from typing import Final

from ocr_tcp_lb.config import KIB
from ocr_tcp_lb.relay.failures import SinkBroke
from ocr_tcp_lb.relay.readiness import Buffer, Channel
from ocr_tcp_lb.relay.reservoir import Reservoir

JOIN_BYTES: Final = 16 * KIB  # up to here one copy and `send` beats `sendmsg` of two pieces
MOST_PIECES: Final = 512  # the kernel takes 1,024 at once (IOV_MAX) and refuses more with EMSGSIZE


class Outgoing:
    """Moves it, and knows how much of it went and whether something is left."""

    __slots__ = ("_left", "_pieces", "_reservoir", "_sent")

    def __init__(self) -> None:
        self._reservoir: Reservoir | None = None  # what it holds goes first
        self._pieces: list[Buffer] = []
        self._left = 0  # bytes in them
        self._sent = 0

    @property
    def sent(self) -> int:
        """How many bytes the backend took, the head included."""
        return self._sent if self._reservoir is None else self._sent + self._reservoir.sent

    @property
    def is_left(self) -> bool:
        """Whether the backend did not take all of it yet."""
        return bool(self._pieces) or (self._reservoir is not None and self._reservoir.is_left)

    def start(
        self, head: bytes, pieces: Sequence[Buffer], front: Sequence[Buffer] = (), reservoir: Reservoir | None = None
    ) -> None:
        """Begin an attempt; with a reservoir, `front` goes before what is in it, and the pieces behind."""
        self._sent = 0
        self._reservoir = None
        if reservoir is None:
            self._pieces = [head, *pieces]
        elif reservoir.start((head, *front)):
            self._reservoir = reservoir
            self._pieces = list(pieces)
        else:
            self._pieces = [head, *front, reservoir.copy, *pieces]
        self._left = sum(map(len, self._pieces))
        if len(self._pieces) > 1 and self._left <= JOIN_BYTES:
            self._pieces = [b"".join(self._pieces)]

    def end(self, sent: int) -> None:
        """Nothing more is to go; `sent` is how much went, in whatever way."""
        self._reservoir = None
        self._pieces = []
        self._sent = sent

    def pump(self, backend: Channel) -> bool:
        """Send what the backend takes; True when all of it went. Raises SinkBroke."""
        reservoir = self._reservoir
        if reservoir is not None and reservoir.is_left:
            reservoir.pour(backend)
            if reservoir.is_left:
                return False
        pieces = self._pieces
        while pieces:
            try:
                sent = backend.send(pieces[0]) if len(pieces) == 1 else backend.send_pieces(pieces[:MOST_PIECES])
            except OSError as error:
                raise SinkBroke(str(error)) from error
            if sent == 0:
                return False
            self._sent += sent
            self._left -= sent
            self._pieces = pieces = _without(pieces, sent) if self._left else []
        return True


def _without(pieces: Sequence[Buffer], sent: int) -> list[Buffer]:
    """The pieces that remain after the first `sent` bytes."""
    for index, piece in enumerate(pieces):
        if sent < len(piece):
            return [memoryview(piece)[sent:], *pieces[index + 1 :]]
        sent -= len(piece)
    return []
