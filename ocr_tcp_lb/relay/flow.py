"""One body on its way from one socket to another: read what the framing allows, hold what the sink does not take.

`pump` moves bytes until one side says "not now" or the body has ended, and never waits. Backpressure follows
from one rule: nothing is read while something is held. So a flow holds at most one read (a scratch buffer, or
what one pipe takes), whatever either side does.

Raises SourceBroke (the source ended or failed inside the body), SinkBroke (the sink failed), and what the
chunked reader raises about malformed chunks.
"""

import errno
from typing import Final

from ocr_tcp_lb.config import KIB
from ocr_tcp_lb.relay.buffers import SCRATCH_BYTES, scratch_view
from ocr_tcp_lb.relay.failures import SinkBroke, SourceBroke
from ocr_tcp_lb.relay.readiness import Buffer, Channel
from ocr_tcp_lb.relay.splice import SMALLEST_SPLICE_BYTES, Pipe, Pipes
from ocr_tcp_lb.wire.chunked import ChunkedBody
from ocr_tcp_lb.wire.errors import too_large
from ocr_tcp_lb.wire.framing import Framing

ROUNDS = 16  # a pump moves at most 16 reads (4 to 16 MiB), then lets other connections have their turn
CHUNKED_ROUNDS = 1  # a read of 256 KiB may hold 43,000 chunks of one byte, 40 ms of work
FIRST_READ_BYTES: Final = 64 * KIB  # doubled while the sink takes all: a client that never reads makes us hold little
FINE_READ_BYTES = 32 * KIB  # 5 ms of such chunks
UNBOUNDED = 1 << 62


def next_read_bytes(payload: int, raw: int) -> int:
    """How much to read of a chunked body after so much of it: less of chunks so small that their framing weighs."""
    return FINE_READ_BYTES if 4 * payload < 3 * raw else SCRATCH_BYTES


class Flow:
    """One body from `source` to `sink`; `done` once its last byte was taken by the sink.

    `moved` counts what the sink took of the body as it is sent, a chunked one with its framing. `surplus` holds bytes
    that came after the end of a chunked body. With `dechunk`, the payload alone is passed on and counted (to HTTP/1.0
    clients, which know no chunks).
    """

    __slots__ = (
        "_chunked",
        "_dechunk",
        "_ended",
        "_held",
        "_is_bulk",
        "_left",
        "_limit",
        "_most_read_bytes",
        "_pipe",
        "_pipes",
        "_read_bytes",
        "_spliceable",
        "_until_close",
        "done",
        "moved",
        "sink",
        "source",
        "surplus",
    )

    def __init__(
        self,
        source: Channel,
        sink: Channel,
        pipes: Pipes,
        framing: Framing,
        *,
        left: int = 0,
        chunked: ChunkedBody | None = None,
        dechunk: bool = False,
        limit: int = UNBOUNDED,
    ) -> None:
        """Start a body of which `left` bytes are to come (LENGTH), or which `chunked` has begun to follow.

        A chunked one over the limit is found out before the sink has its end; `pump` raises RequestError (413).
        """
        self.source = source
        self.sink = sink
        self.moved = 0
        self.surplus = b""
        self._pipes = pipes
        self._pipe: Pipe | None = None
        self._held: Buffer = b""
        self._chunked = chunked
        self._dechunk = dechunk
        self._limit = limit
        self._until_close = framing is Framing.UNTIL_CLOSE
        self._left = UNBOUNDED if self._until_close else left
        self._spliceable = chunked is None
        self._is_bulk = not self._until_close  # a stream may be talk; then a copy takes 2 system calls, a pipe 3
        self._read_bytes = FIRST_READ_BYTES
        self._most_read_bytes = SCRATCH_BYTES
        self._ended = chunked.done if chunked is not None else not self._left
        self.done = self._ended

    @property
    def is_blocked_by_sink(self) -> bool:
        """Whether bytes are held that the sink did not take yet."""
        return bool(self._held) or self._pipe is not None

    @property
    def has_work(self) -> bool:
        """Whether a pump may do something: there is something to read, to send, or to end."""
        return self.source.readable or self._ended or self.is_blocked_by_sink

    def begin(self, prelude: bytes, data: bytes, sent: int = 0) -> None:
        """Put a head, and the part of the body that was read along with it, in front of what will be read.

        Of these the sink took `sent` bytes already. The prelude does not count as `moved`. Bytes behind the end
        of the body become `surplus`.
        """
        held = b"".join((prelude, self._follow(data))) if data else prelude
        self._held = memoryview(held)[sent:] if sent else held
        self.moved = sent - len(prelude)
        self.done = False

    def pump(self) -> bool:
        """Move what can move now; True when it stopped only to let others have their turn."""
        for _ in range(ROUNDS if self._chunked is None else CHUNKED_ROUNDS):
            if self._held and not self._flush():
                return False
            if self._ended and self._pipe is None:
                self.done = True
                return False
            splices = self._is_bulk and self._spliceable and self._left >= SMALLEST_SPLICE_BYTES
            if not (self._splice_once() if splices or self._pipe is not None else self._copy_once()):
                return False
        return True

    def _copy_once(self) -> bool:
        if not self.source.readable:
            return False
        size = min(self._left, self._read_bytes) if self._chunked is None else self._read_bytes
        try:
            received = self.source.receive_into(scratch_view[:size])
        except OSError as error:
            raise SourceBroke(str(error)) from error
        if received is None:
            return False
        if received == 0:
            self._source_ended()
            return True
        data = self._follow(scratch_view[:received])
        sent = self._send(data)
        if sent < len(data):
            self._held = bytes(data[sent:])
            self._read_bytes = min(FIRST_READ_BYTES, self._most_read_bytes)
            return False
        if received < size:
            self.source.presume_empty()
            return self._ended
        self._read_bytes = min(2 * size, self._most_read_bytes)
        self._is_bulk = True
        return True

    def _splice_once(self) -> bool:
        pipe = self._pipe
        if pipe is None:
            pipe = self._fill_pipe()
            if pipe is None:
                # Either a copy or the end comes next, or nothing is there now.
                return self._ended or not self._spliceable
        try:
            self.moved += pipe.drain_into(self.sink.fd)
        except BlockingIOError:
            self.sink.writable = False
            return False
        except OSError as error:
            raise SinkBroke(str(error)) from error
        if pipe.fill == 0:
            self._pipe = None
            self._pipes.give_back(pipe)
        return True

    def _fill_pipe(self) -> Pipe | None:
        if not self.source.readable:
            return None
        pipe = self._pipes.borrow()
        if pipe is None:
            self._spliceable = False
            return None
        try:
            received = pipe.fill_from(self.source.fd, self._left)
        except BlockingIOError:
            self.source.readable = False
            self._pipes.give_back(pipe)
            return None
        except OSError as error:
            self._pipes.give_back(pipe)
            if error.errno == errno.EINVAL:  # a kind of socket that cannot be spliced
                self._spliceable = False
                return None
            raise SourceBroke(str(error)) from error
        if received == 0:
            self._pipes.give_back(pipe)
            self._source_ended()
            return None
        self._left -= received
        self._ended = not self._left
        self._is_bulk = received >= SMALLEST_SPLICE_BYTES or not self._until_close
        self._pipe = pipe
        return pipe

    def _follow(self, data: Buffer) -> Buffer:
        """Account for bytes just read; returns those to pass on."""
        if self._chunked is None:
            if len(data) > self._left:
                self.surplus = bytes(data[self._left :])
                data = data[: self._left]
            self._left -= len(data)
            self._ended = not self._left
            return data
        before = self._chunked.body_bytes
        if self._dechunk:
            consumed, payload = self._chunked.payload(data)
            passed: Buffer = b"".join(payload)
        else:
            consumed = self._chunked.feed(data)
            passed = data if consumed == len(data) else data[:consumed]
        if self._chunked.body_bytes > self._limit:
            raise too_large(self._limit)
        self._most_read_bytes = next_read_bytes(self._chunked.body_bytes - before, consumed)
        if self._chunked.done:
            self._ended = True
            self.surplus = bytes(data[consumed:])
        return passed

    def _source_ended(self) -> None:
        if not self._until_close:
            raise SourceBroke("the connection was closed inside the body")
        self._left = 0
        self._ended = True

    def _flush(self) -> bool:
        sent = self._send(self._held)
        if sent < len(self._held):
            self._held = memoryview(self._held)[sent:]
            return False
        self._held = b""
        return True

    def _send(self, data: Buffer) -> int:
        if not data:
            return 0
        try:
            sent = self.sink.send(data)
        except OSError as error:
            raise SinkBroke(str(error)) from error
        self.moved += sent
        return sent

    def close(self) -> None:
        """Give up what is held; safe at any time, and again."""
        self._held = b""
        if self._pipe is not None:
            self._pipes.give_back(self._pipe)
            self._pipe = None
