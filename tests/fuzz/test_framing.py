"""A body's framing as a state machine: pieces of any size, in any order of arrival, give the body that was sent.

The model is the list of bytes written so far; the rules write chunks, lines and rubbish, and read in pieces. On real
sockets the same holds for a whole exchange: the second machine sends through a `Flow` between two socket pairs.
"""

import asyncio
import socket

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ocr_tcp_lb.relay.failures import SinkBroke, SourceBroke
from ocr_tcp_lb.relay.flow import Flow
from ocr_tcp_lb.relay.poller import LoopPoller
from ocr_tcp_lb.relay.readiness import Channel, Wakeup
from ocr_tcp_lb.relay.splice import Pipes
from ocr_tcp_lb.wire import ChunkedBody, Framing, ProtocolError


class ChunkedMachine(RuleBasedStateMachine):
    """Writes a chunked body piece by piece while it is being read."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = ChunkedBody("client")
        self.stream, self.body, self.read = b"", b"", 0
        self.payload = b""
        self.is_over = self.is_bad = self.is_refused = False

    @precondition(lambda self: not (self.is_over or self.is_bad))
    @rule(data=st.binary(min_size=1, max_size=40), extension=st.sampled_from([b"", b";a", b';a="b\\""']))
    def write_chunk(self, data: bytes, extension: bytes) -> None:
        self.stream += b"%x%b\r\n%b\r\n" % (len(data), extension, data)
        self.body += data

    @precondition(lambda self: not (self.is_over or self.is_bad))
    @rule(trailer=st.sampled_from([b"", b"X: y\r\n"]), behind=st.binary(max_size=9))
    def write_end(self, trailer: bytes, behind: bytes) -> None:
        self.stream += b"0\r\n" + trailer + b"\r\n"
        self.end = len(self.stream)
        self.stream += behind
        self.is_over = True

    @precondition(lambda self: not (self.is_over or self.is_bad))
    @rule(rubbish=st.sampled_from([b"\n", b" 5\r\n", b"+1\r\n", b"x\r\n", b"5\n", b"0\r\nHost: a\r\n"]))
    def write_rubbish(self, rubbish: bytes) -> None:
        self.stream += rubbish
        self.is_bad = True

    @rule(size=st.integers(1, 60))
    def read_piece(self, size: int) -> None:
        piece = self.stream[self.read : self.read + size]
        if self.reader.done or self.is_refused or not piece:
            return
        try:
            consumed, slices = self.reader.payload(piece)
        except ProtocolError:
            assert self.is_bad
            self.is_refused = True
            return
        self.payload += b"".join(slices)
        self.read += consumed
        assert consumed == len(piece) or self.reader.done

    @invariant()
    def what_was_read_is_what_was_written(self) -> None:
        assert self.body.startswith(self.payload)
        if self.is_refused:
            return
        assert self.reader.body_bytes == len(self.payload)
        if self.reader.done:
            assert self.is_over
            assert (self.payload, self.read) == (self.body, self.end)


class FlowMachine(RuleBasedStateMachine):
    """A body of known length through a `Flow`: what comes out is what went in, or it visibly broke."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.theirs, source = socket.socketpair()
        sink, self.ours = socket.socketpair()
        for sock in (self.theirs, source, sink, self.ours):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        wakeup, poller = Wakeup(self.loop), LoopPoller(self.loop)
        self.source, self.sink = Channel(poller, source, wakeup), Channel(poller, sink, wakeup)
        self.pipes = Pipes()
        self.length = 150_000
        self.flow = Flow(self.source, self.sink, self.pipes, Framing.LENGTH, left=self.length)
        self.sent = self.received = 0
        self.has_left = self.has_ended = self.is_broken = False

    @staticmethod
    def piece(start: int, size: int) -> bytes:
        return bytes((start + offset) * 7 % 251 for offset in range(size))

    @precondition(lambda self: not self.has_ended)
    @rule(size=st.sampled_from([1, 500, 30_000, 90_000]))
    def send(self, size: int) -> None:
        try:
            self.sent += self.theirs.send(self.piece(self.sent, min(size, self.length - self.sent)))
        except (BlockingIOError, BrokenPipeError):
            pass

    @rule()
    def end(self) -> None:
        self.has_ended = True
        self.theirs.close()

    @precondition(lambda self: not self.has_left)
    @rule(size=st.sampled_from([1, 700, 100_000]))
    def receive(self, size: int) -> None:
        try:
            data = self.ours.recv(size)
        except BlockingIOError:
            return
        assert data == self.piece(self.received, len(data))
        self.received += len(data)

    @rule()
    def leave(self) -> None:
        self.has_left = True
        self.ours.close()

    @rule()
    def pump(self) -> None:
        if self.is_broken or self.flow.done:
            return
        self.source.readable = self.sink.writable = True
        try:
            self.flow.pump()
        except SourceBroke:
            assert self.has_ended
            assert self.sent < self.length
            self.is_broken = True
        except SinkBroke:
            assert self.has_left
            self.is_broken = True

    @invariant()
    def nothing_appears_or_is_lost(self) -> None:
        assert self.received <= self.flow.moved <= self.sent
        if self.flow.done:
            assert self.flow.moved == self.length

    def teardown(self) -> None:
        self.flow.close()
        for channel in (self.source, self.sink):
            channel.close()
        self.theirs.close()
        self.ours.close()
        assert self.pipes._made == len(self.pipes._free), "a pipe was not given back"
        self.pipes.close()
        self.loop.close()


for machine, examples in ((ChunkedMachine, 60), (FlowMachine, 40)):
    machine.TestCase.settings = settings(max_examples=examples, stateful_step_count=30, derandomize=True, deadline=None)

TestChunkedFraming = ChunkedMachine.TestCase
TestFlowFraming = FlowMachine.TestCase
