"""A request's body on the balancer's side: gathered before a backend is taken, sent, and sent again if need be.

Three stages, each a method that moves what it can and never waits:
`gather` reads the body into bounded memory until it is whole or the bound is reached; `start` begins an attempt,
from the first byte; `pump` sends what was gathered and then streams the rest straight from the client.
As long as nothing was streamed the upload is replayable: it can be started again towards another backend.
"""

from ocr_tcp_lb.config import KIB, Limits
from ocr_tcp_lb.relay.buffers import SLAB_BYTES, Slabs
from ocr_tcp_lb.relay.failures import SourceBroke
from ocr_tcp_lb.relay.flow import FIRST_READ_BYTES, Flow, next_read_bytes
from ocr_tcp_lb.relay.outgoing import Outgoing
from ocr_tcp_lb.relay.readiness import Buffer, Channel
from ocr_tcp_lb.relay.reservoir import FRONT_BYTES, SMALLEST_BYTES, Reservoir, Reservoirs
from ocr_tcp_lb.relay.splice import Pipes
from ocr_tcp_lb.wire.chunked import ChunkedBody
from ocr_tcp_lb.wire.errors import too_large
from ocr_tcp_lb.wire.framing import Framing
from ocr_tcp_lb.wire.head import RequestHead

SMALL_SLAB_BYTES = 16 * KIB  # so much memory at a time for a body that drips in
FLOWING_BYTES = 64 * KIB  # a body of which so much has come drips no more
STREAMED_SHARE = 0.25  # of all buffer memory, for bodies that are too large to be held whole
MOST_BEFORE_BYTES = FRONT_BYTES // 2  # of the body; its head is in front, too


class Upload:
    """The body of one request; `over` once all of it was taken by the backend of the current attempt.

    Made with `first`, what came of it behind the head. Raises RequestError (413) for a body over the limit, at once or,
    when chunked, as it comes.
    """

    _chunked: ChunkedBody | None = None
    _filled = 0  # bytes of the slab
    _from = 0  # where in the slab its last piece begins
    _flow: Flow | None = None
    _reservoir: Reservoir | None = None
    _slab: memoryview | None = None  # the one that is being filled
    gathered = 0
    over = False
    _read_bytes: int
    _surplus = b""
    whole = False  # all of the body was gathered

    def __init__(
        self, client: Channel, head: RequestHead, first: bytes, slabs: Slabs, reservoirs: Reservoirs, limits: Limits
    ) -> None:
        self.client = client
        client.readable = True  # the body follows its head closely
        self._framing = head.framing
        self._limit = limits.body_bytes
        self._most = limits.request_buffer_bytes
        self._slabs = slabs
        self._reservoirs = reservoirs
        self._read_bytes = SLAB_BYTES
        fits = head.framing is Framing.CHUNKED or head.content_length <= self._most
        self._share = 1.0 if fits else STREAMED_SHARE
        self._front: list[Buffer] = []  # what comes before the reservoir
        self._pieces: list[Buffer] = []  # what comes behind it, or all
        self._taken: list[memoryview] = []
        self._outgoing = Outgoing()
        self._left = head.content_length
        if self._left > self._limit:
            raise too_large(self._limit)
        if head.framing is Framing.CHUNKED:
            self._chunked = ChunkedBody("client")
        self._begin(first)
        if self._chunked is not None:  # of which little is known yet
            self._read_bytes = min(self._read_bytes, FIRST_READ_BYTES)

    def _begin(self, first: bytes) -> None:
        if self._chunked is None:
            body = first
            self._left -= len(body)
        else:
            consumed = self._follow(first)
            body, self._surplus = first[:consumed], first[consumed:]
        if body:
            self._pieces.append(body)
            self.gathered = len(body)

    @property
    def is_gathered(self) -> bool:
        """Whether the time has come to ask for a backend: the body is whole, or no more may be held."""
        return self.whole or self.gathered >= self._most

    @property
    def is_replayable(self) -> bool:
        """Whether another attempt could send the very same body."""
        return self._flow is None

    @property
    def streams(self) -> bool:
        """Whether bytes are still to be read from the client during the exchange."""
        return not self.whole and not self.over

    @property
    def bytes_taken(self) -> int:
        """How many bytes of the body came from the client so far, of a chunked one with its framing."""
        return self.gathered + (self._flow.moved if self._flow is not None else 0)

    @property
    def bytes_sent(self) -> int:
        """How many bytes the backend of this attempt took so far, the head included."""
        return self._outgoing.sent + (self._flow.moved if self._flow is not None else 0)

    @property
    def is_blocked_by_backend(self) -> bool:
        """Whether bytes wait here that the backend did not take yet."""
        return self._outgoing.is_left or (self._flow is not None and self._flow.is_blocked_by_sink)

    def take_surplus(self) -> bytes:
        """Bytes behind a chunked body, once it is whole or over: the client's next request; given out once."""
        surplus, self._surplus = self._surplus, b""
        return surplus

    def gather(self) -> bool:
        """Read what is there, of a chunked body about `_read_bytes`; True when `is_gathered`, or no memory is left.

        Raises RequestError for malformed or too large chunked bodies, SourceBroke when the client is gone.
        """
        client, helping = self.client, 0
        while not (self.whole or self.gathered >= self._most):
            if not client.readable:
                return False
            if self._leaves_in_kernel():
                continue
            room = self._room()
            if room is None:
                return True
            try:
                received = client.receive_into(room)
            except OSError as error:
                raise SourceBroke(str(error)) from error
            if received is None:
                return False
            if received == 0:
                raise SourceBroke("the client closed inside the body")
            self._keep(received)
            helping += received
            if self._chunked is not None and helping >= self._read_bytes:  # see `flow.CHUNKED_ROUNDS`
                return self.is_gathered
        return True

    def _leaves_in_kernel(self) -> bool:
        """Whether what is there, if it is much, could be left in the kernel. Slabs may precede it, and follow."""
        if self._chunked is not None or self._share < 1.0:
            return False
        reservoir, client = self._reservoir, self.client
        if reservoir is None:
            if self._left < SMALLEST_BYTES or self.gathered > MOST_BEFORE_BYTES:
                return False
            waiting = client.unread_bytes()
            if waiting < SMALLEST_BYTES or (reservoir := self._reservoirs.new()) is None:
                return False
            self._reservoir = reservoir
            self._front, self._pieces, self._from = self._pieces, [], self._filled
        elif self._pieces:
            return False
        else:
            waiting = client.unread_bytes()
        moved = reservoir.take_in(client, min(waiting, self._left))
        self.gathered += moved
        self._left -= moved
        if not self._left:
            self.whole = True
        if moved == waiting or self.whole:
            client.presume_empty()
        return moved > 0

    def _room(self) -> memoryview | None:
        """Where the next read goes: no more of a slab than may be read now; None when no memory is left."""
        slab, filled = self._slab, self._filled
        left = self._left if self._chunked is None else SLAB_BYTES
        if slab is None or filled == len(slab):
            wanted = min(SLAB_BYTES if self._flows() else SMALL_SLAB_BYTES, self._most - self.gathered, left)
            slab = self._slabs.take(wanted, self._share)
            if slab is None:
                return None
            self._slab = slab
            self._taken.append(slab)
            self._filled = self._from = filled = 0
        return slab[filled : filled + min(self._read_bytes, left)]

    def _flows(self) -> bool:
        """Whether so much came already, or waits in the kernel, that a whole slab will soon be full."""
        return self.gathered >= FLOWING_BYTES or self.gathered + self.client.unread_bytes() >= FLOWING_BYTES

    def _keep(self, received: int) -> None:
        """So many bytes more are in the slab."""
        slab, start, consumed = self._slab, self._filled, received
        assert slab is not None
        if self._chunked is None:
            self._left -= received
            if not self._left:
                self.whole = True
                self.client.presume_empty()
        else:
            data = slab[start : start + received]
            consumed = self._follow(data)
            self._surplus = bytes(data[consumed:])
        self._filled = end = start + consumed
        self.gathered += consumed
        if start > self._from:  # one piece a slab: a body that drips in byte by byte must not be a million pieces
            start = self._from
            self._pieces.pop()
        self._pieces.append(slab[start:end])

    def _follow(self, data: Buffer) -> int:
        assert self._chunked is not None
        before = self._chunked.body_bytes
        consumed = self._chunked.feed(data)
        self._read_bytes = next_read_bytes(self._chunked.body_bytes - before, consumed)
        if self._chunked.body_bytes > self._limit:
            raise too_large(self._limit)
        self.whole = self._chunked.done
        return consumed

    def start(self, head: bytes) -> None:
        """Begin an attempt: this head, then the body from its first byte."""
        assert self.is_replayable
        self.over = False
        self._outgoing.start(head, self._pieces, self._front, self._reservoir)

    def was_sent(self, sent: int) -> None:
        """It was sent elsewhere, with its head: `sent` bytes; only for a body that is whole."""
        assert self.whole
        self._outgoing.end(sent)
        self.over = True

    def pump(self, backend: Channel, pipes: Pipes) -> bool:
        """Send what was gathered, then stream the rest; True when it stopped only to let others have a turn.

        Raises SinkBroke (the backend), SourceBroke (the client), RequestError (the body is malformed or too large).
        """
        if not self._outgoing.pump(backend):
            return False
        if self.whole:
            self.over = True
            return False
        if self._flow is None:
            self._flow = self._stream(backend, pipes)
        more = self._flow.pump()
        if self._flow.done:
            self.over = True
            self._surplus = self._flow.surplus
        return more

    def _stream(self, backend: Channel, pipes: Pipes) -> Flow:
        flow = Flow(
            self.client, backend, pipes, self._framing, left=self._left, chunked=self._chunked, limit=self._limit
        )
        self._let_go()  # streamed bytes cannot be sent twice, so the gathered ones need not be kept
        return flow

    def _let_go(self) -> None:
        self._outgoing.end(self._outgoing.sent)
        self._front.clear()
        if self._reservoir is not None:
            self._reservoir.close()
            self._reservoir = None
        self._pieces.clear()
        self._slab = None
        for slab in self._taken:
            self._slabs.give_back(slab)
        self._taken.clear()

    def close(self) -> None:
        """Give all memory back; safe at any time, and again."""
        if self._taken or self._pieces or self._reservoir is not None:
            self._let_go()
        if self._flow is not None:
            self._flow.close()
