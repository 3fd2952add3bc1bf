"""One body from socket to socket: every framing, both ways of moving bytes, and bounded memory."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_tcp_lb.relay.buffers import SCRATCH_BYTES
from ocr_tcp_lb.relay.failures import SinkBroke, SourceBroke
from ocr_tcp_lb.relay.flow import Flow
from ocr_tcp_lb.relay.poller import LoopPoller
from ocr_tcp_lb.relay.readiness import Channel, Wakeup
from ocr_tcp_lb.relay.splice import HAS_SPLICE, Pipe, Pipes
from ocr_tcp_lb.wire.chunked import ChunkedBody
from ocr_tcp_lb.wire.errors import ReplyError
from ocr_tcp_lb.wire.framing import Framing

from .support import chunked, pattern, replaces_a_part


class Line:
    """A source and a sink whose far ends the test holds."""

    def __init__(self, pipes: Pipes) -> None:
        loop = asyncio.get_running_loop()
        self.pipes = pipes
        self.far_source, near_source = socket.socketpair()
        near_sink, self.far_sink = socket.socketpair()
        for sock in (self.far_source, near_source, near_sink, self.far_sink):
            sock.setblocking(False)
        self.source = Channel(LoopPoller(loop), near_source, Wakeup(loop))
        self.sink = Channel(LoopPoller(loop), near_sink, Wakeup(loop))

    def flow(self, framing: Framing, **more: object) -> Flow:
        return Flow(self.source, self.sink, self.pipes, framing, **more)  # type: ignore[arg-type]

    def pump(self, flow: Flow) -> bool:
        self.source.readable = self.sink.writable = True
        return flow.pump()

    def pump_to_the_end(self, flow: Flow) -> None:
        """Until the flow is done, or raises."""
        while not flow.done:
            self.pump(flow)

    def drained(self) -> bytes:
        """What the sink's far end has received."""
        data = b""
        while True:
            try:
                piece = self.far_sink.recv(1 << 20)
            except BlockingIOError:
                return data
            if not piece:
                return data
            data += piece

    def carry(self, flow: Flow, data: bytes, cuts: list[int]) -> bytes:
        """Feed data cut into pieces, and drain as we go, until the flow is done."""
        got, at = b"", 0
        for cut in [*cuts, len(data)]:
            end = min(len(data), at + cut)
            while at < end:
                try:
                    at += self.far_source.send(data[at:end])
                except BlockingIOError:
                    pass
                self.pump(flow)
                got += self.drained()
        while self.pump(flow) or flow.is_blocked_by_sink:
            got += self.drained()
        return got + self.drained()

    def close(self) -> None:
        self.far_source.close()
        self.far_sink.close()
        self.source.close()
        self.sink.close()


@pytest.fixture(params=["splice", "copy"])
async def line(request: pytest.FixtureRequest) -> AsyncIterator[Line]:
    if request.param == "splice" and not HAS_SPLICE:
        pytest.skip("this platform has no splice")
    line = Line(Pipes() if request.param == "splice" else Pipes(most=0))
    yield line
    line.close()
    assert line.pipes._made == len(line.pipes._free)
    line.pipes.close()


@pytest.mark.parametrize("size", [1, 1000, 64 * 1024, 3_000_001])
async def test_body_with_a_length_arrives_by_either_way(line: Line, size: int) -> None:
    data, flow = pattern(size), line.flow(Framing.LENGTH, left=size)
    got = line.carry(flow, data, [1, 70_000, 100_000])
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
    assert flow.done
    assert flow.moved == size
    flow.close()


async def test_bytes_behind_a_length_stay_in_the_source(line: Line) -> None:
    flow = line.flow(Framing.LENGTH, left=100_000)
    assert line.carry(flow, pattern(100_000) + b"next", []) == pattern(100_000)
    assert flow.done
    left = memoryview(bytearray(10))
    assert line.source.receive_into(left) == 4
    assert bytes(left[:4]) == b"next"


async def test_body_until_the_close_ends_with_it(line: Line) -> None:
    flow = line.flow(Framing.UNTIL_CLOSE)
    got = line.carry(flow, pattern(500_000), [])
    assert not flow.done
    line.far_source.close()
    while line.pump(flow):
        got += line.drained()
    assert got + line.drained() == pattern(500_000)
    assert flow.done


@replaces_a_part
async def test_a_talk_is_copied_and_only_its_bulk_spliced(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    borrowed: list[Pipe | None] = []
    borrow = line.pipes.borrow

    def counted() -> Pipe | None:
        borrowed.append(borrow())
        return borrowed[-1]

    monkeypatch.setattr(line.pipes, "borrow", counted)
    flow = line.flow(Framing.UNTIL_CLOSE)
    assert line.carry(flow, b"ping", []) == b"ping"
    assert borrowed == []
    bulk = pattern(1_000_000)
    assert line.carry(flow, bulk, []) == bulk
    assert len(borrowed) > 0
    assert line.carry(flow, b"the first small one shows that the bulk is over", [])
    before = len(borrowed)
    assert line.carry(flow, b"pong", []) == b"pong"
    assert len(borrowed) == before


async def test_empty_body_is_done_at_once(line: Line) -> None:
    assert line.flow(Framing.NONE).done


@pytest.mark.parametrize("dechunk", [False, True])
async def test_chunked_body_is_followed_and_what_is_behind_it_kept(line: Line, dechunk: bool) -> None:
    raw, payload = chunked(b"a", pattern(200_000), b"z"), b"a" + pattern(200_000) + b"z"
    flow = line.flow(Framing.CHUNKED, chunked=ChunkedBody("backend"), dechunk=dechunk)
    got = line.carry(flow, raw, [1, 2, 3, 1000])
    assert got == (payload if dechunk else raw)
    assert flow.done
    assert flow.surplus == b""


async def test_surplus_of_a_chunked_body_is_not_passed_on(line: Line) -> None:
    flow = line.flow(Framing.CHUNKED, chunked=ChunkedBody("backend"))
    assert line.carry(flow, chunked(b"abc") + b"HTTP/1.1 200 OK", []) == chunked(b"abc")
    assert flow.surplus == b"HTTP/1.1 200 OK"


async def test_begin_puts_head_and_first_bytes_in_front(line: Line) -> None:
    flow = line.flow(Framing.LENGTH, left=100_000)
    flow.begin(b"head", pattern(100_000)[:50])
    assert line.carry(flow, pattern(100_000)[50:], []) == b"head" + pattern(100_000)
    assert flow.moved == 100_000, "a head is no part of the body"


async def test_begin_keeps_what_is_behind_the_body(line: Line) -> None:
    flow = line.flow(Framing.LENGTH, left=3)
    flow.begin(b"head", b"abcdef")
    assert line.carry(flow, b"", []) == b"headabc"
    assert flow.done
    assert flow.surplus == b"def"


async def test_malformed_chunk_raises(line: Line) -> None:
    flow = line.flow(Framing.CHUNKED, chunked=ChunkedBody("backend"))
    line.far_source.send(b"zz\r\n")
    with pytest.raises(ReplyError):
        line.pump(flow)
    flow.close()


@pytest.mark.parametrize("framing", [Framing.LENGTH, Framing.CHUNKED])
@pytest.mark.parametrize("sent", [b"", b"3\r\nabc\r\n"])
async def test_source_that_ends_inside_the_body_raises(line: Line, framing: Framing, sent: bytes) -> None:
    follower = ChunkedBody("backend") if framing is Framing.CHUNKED else None
    flow = line.flow(framing, left=100_000, chunked=follower)
    line.far_source.send(sent)
    line.far_source.close()
    with pytest.raises(SourceBroke):
        line.pump_to_the_end(flow)
    flow.close()


async def test_sink_that_is_gone_raises(line: Line) -> None:
    flow = line.flow(Framing.LENGTH, left=100_000)
    line.far_source.send(pattern(100_000))
    line.far_sink.close()
    with pytest.raises(SinkBroke):
        line.pump(flow)
    flow.close()


async def test_sink_that_takes_nothing_stops_the_reading(line: Line) -> None:
    flow = line.flow(Framing.LENGTH, left=50_000_000)
    sent = 0
    for _ in range(200):
        try:
            sent += line.far_source.send(bytes(100_000))
        except BlockingIOError:
            pass
        line.pump(flow)
    assert flow.is_blocked_by_sink
    assert len(flow._held) <= SCRATCH_BYTES
    stuck = sent
    for _ in range(20):
        try:
            sent += line.far_source.send(bytes(100_000))
        except BlockingIOError:
            pass
        line.pump(flow)
    assert sent == stuck, "backpressure reaches the far end of the source"
    flow.close()


@replaces_a_part
async def test_flow_lets_others_have_their_turn(line: Line) -> None:
    flow = line.flow(Framing.LENGTH, left=1 << 40)
    turns = 0
    line.source.readable = True

    class Endless(Channel):
        __slots__ = ()

        def receive_into(self, view: memoryview) -> int | None:
            return len(view)

        def send(self, data: bytes | memoryview) -> int:
            return len(data)

    loop = asyncio.get_running_loop()
    flow._spliceable = False
    flow.source = Endless(loop, line.source.sock, Wakeup(loop))
    flow.sink = Endless(loop, line.sink.sock, Wakeup(loop))
    flow.source.readable = True
    for _ in range(3):
        turns += flow.pump()
    assert turns == 3
    assert flow.moved <= 3 * 16 * SCRATCH_BYTES


async def test_closed_flow_gives_its_pipe_back(line: Line) -> None:
    flow = line.flow(Framing.LENGTH, left=50_000_000)
    while not flow.is_blocked_by_sink:
        try:
            line.far_source.send(bytes(100_000))
        except BlockingIOError:
            pass
        line.pump(flow)
    flow.close()
    flow.close()
    assert line.pipes._made == len(line.pipes._free)


@settings(max_examples=60, deadline=None)
@given(
    payload=st.lists(st.binary(min_size=1, max_size=200), max_size=6),
    cuts=st.lists(st.integers(1, 50), max_size=40),
    dechunk=st.booleans(),
)
def test_any_cut_of_a_chunked_body_gives_the_same_bytes(payload: list[bytes], cuts: list[int], dechunk: bool) -> None:
    async def run() -> None:
        line = Line(Pipes(most=0))
        flow = line.flow(Framing.CHUNKED, chunked=ChunkedBody("backend"), dechunk=dechunk)
        raw = chunked(*payload)
        assert line.carry(flow, raw, cuts) == (b"".join(payload) if dechunk else raw)
        assert flow.done
        line.close()

    asyncio.run(run())
