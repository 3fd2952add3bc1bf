"""A request's body on our side: gathered within bounds, sent, and sent again."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from ocr_tcp_lb.config import Limits
from ocr_tcp_lb.relay.buffers import SLAB_BYTES, Slabs
from ocr_tcp_lb.relay.failures import SinkBroke, SourceBroke
from ocr_tcp_lb.relay.flow import FINE_READ_BYTES, FIRST_READ_BYTES
from ocr_tcp_lb.relay.gathering import is_to_come
from ocr_tcp_lb.relay.held_body import HeldBody
from ocr_tcp_lb.relay.poller import LoopPoller
from ocr_tcp_lb.relay.readiness import Channel, Wakeup
from ocr_tcp_lb.relay.reservoir import Reservoirs
from ocr_tcp_lb.relay.splice import Pipes
from ocr_tcp_lb.relay.upload import SMALL_SLAB_BYTES, STREAMED_SHARE, Upload
from ocr_tcp_lb.wire.errors import RequestError
from ocr_tcp_lb.wire.requests import RequestParser

from .support import chunked, pattern, replaces_a_part

HEAD = b"POST / HTTP/1.1\r\nHost: b\r\n\r\n"  # what the backend gets; its contents do not matter here


class Desk:
    """An upload between a client and a backend whose far ends the test holds."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.far_client, near_client = socket.socketpair()
        near_backend, self.far_backend = socket.socketpair()
        for sock in (self.far_client, near_client, near_backend, self.far_backend):
            sock.setblocking(False)
        self.client = Channel(LoopPoller(loop), near_client, Wakeup(loop))
        self.backend = Channel(LoopPoller(loop), near_backend, Wakeup(loop))
        self.slabs = Slabs(4 * SLAB_BYTES)
        self.pipes = Pipes()
        self.reservoirs = Reservoirs(self.pipes, self.slabs)

    def upload(self, field: bytes, first: bytes = b"", limits: Limits | None = None) -> Upload | HeldBody:
        head = RequestParser().parse(b"POST / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n")
        if not is_to_come(head, first):
            return HeldBody(first, head.content_length)
        return Upload(self.client, head, first, self.slabs, self.reservoirs, limits or Limits())

    def gather(self, upload: Upload, data: bytes = b"") -> bool:
        """Let the client send, and gather what comes."""
        while data:
            try:
                data = data[self.far_client.send(data) :]
            except BlockingIOError:
                pass
            self.client.readable = True
            upload.gather()
        self.client.readable = True
        while not (done := upload.gather()) and self.client.readable:
            pass  # chunks are gathered a read a turn
        return done

    def sent(self, upload: Upload | HeldBody, data: bytes = b"") -> bytes:
        """Pump until the upload is over, the client sending on; returns what the backend got."""
        got = b""
        while not upload.over or data:
            if data:
                try:
                    data = data[self.far_client.send(data) :]
                except BlockingIOError:
                    pass
            self.client.readable = self.backend.writable = True
            upload.pump(self.backend, self.pipes)
            got += self._drained()
        return got + self._drained()

    def _drained(self) -> bytes:
        data = b""
        while True:
            try:
                data += self.far_backend.recv(1 << 20)
            except BlockingIOError:
                return data

    def close(self) -> None:
        for end in (self.far_client, self.far_backend, self.client, self.backend):
            end.close()
        self.reservoirs.close()
        self.pipes.close()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()
    assert desk.slabs.used_bytes == 0, "memory was not given back"


def length(size: int) -> bytes:
    return b"Content-Length: %d" % size


CHUNKED = b"Transfer-Encoding: chunked"


@pytest.mark.parametrize("size", [0, 1, 100])
async def test_small_body_that_came_with_its_head_needs_nothing_more(desk: Desk, size: int) -> None:
    upload = desk.upload(length(size), pattern(size) + b"next")
    assert upload.whole
    assert not upload.streams
    assert upload.take_surplus() == b"next"
    for _ in range(2):
        upload.start(HEAD)
        assert desk.sent(upload) == HEAD + pattern(size)
    upload.close()


@pytest.mark.parametrize("size", [10, 20_000, SLAB_BYTES, 600_000])
async def test_gathered_body_can_be_sent_again_and_again(desk: Desk, size: int) -> None:
    body = pattern(size)
    upload = desk.upload(length(size), body[:5])
    assert not upload.is_gathered
    assert desk.gather(upload, body[5:])
    assert upload.whole
    for _ in range(3):
        assert upload.is_replayable
        upload.start(HEAD)
        assert desk.sent(upload) == HEAD + body
    assert upload.bytes_sent == len(HEAD) + size
    assert upload.bytes_taken == size
    upload.close()
    upload.close()


async def test_attempt_that_was_cut_short_does_not_shorten_the_next(desk: Desk) -> None:
    body = pattern(900_000)
    upload = desk.upload(length(len(body)))
    desk.gather(upload, body)
    upload.start(HEAD)
    upload.pump(desk.backend, desk.pipes)  # the socket takes a part
    assert upload.is_blocked_by_backend
    desk._drained()
    upload.start(HEAD)
    assert desk.sent(upload) == HEAD + body
    upload.close()


async def test_bytes_behind_the_body_are_left_to_the_client(desk: Desk) -> None:
    upload = desk.upload(length(100))
    assert desk.gather(upload, pattern(100) + b"next")
    view = memoryview(bytearray(10))
    assert desk.client.receive_into(view) == 4
    upload.close()


async def test_chunked_body_is_gathered_to_its_end_and_no_further(desk: Desk) -> None:
    raw = chunked(b"a", pattern(300_000))
    upload = desk.upload(CHUNKED, raw[:7])
    assert desk.gather(upload, raw[7:] + b"next")
    assert upload.whole
    assert upload.take_surplus() == b"next"
    assert upload.take_surplus() == b"", "given out once"
    for _ in range(2):
        upload.start(HEAD)
        assert desk.sent(upload) == HEAD + raw
    upload.close()


async def test_body_over_the_buffer_is_streamed_and_its_memory_freed(desk: Desk) -> None:
    body, limits = pattern(700_000), Limits(request_buffer_bytes=100_000)
    upload = desk.upload(length(len(body)), limits=limits)
    assert desk.gather(upload, body[:100_000])
    assert upload.streams
    assert 100_000 <= desk.slabs.used_bytes <= 100_000 + SLAB_BYTES
    upload.start(HEAD)
    assert upload.is_replayable
    assert desk.sent(upload, body[100_000:]) == HEAD + body
    assert not upload.is_replayable
    assert desk.slabs.used_bytes == 0
    assert upload.bytes_taken == len(body)
    upload.close()


async def test_chunked_body_over_the_buffer_is_streamed_to_its_end(desk: Desk) -> None:
    raw = chunked(*[pattern(50_000)] * 8)
    upload = desk.upload(CHUNKED, limits=Limits(request_buffer_bytes=100_000))
    assert desk.gather(upload, raw[:100_000])
    upload.start(HEAD)
    assert desk.sent(upload, raw[100_000:] + b"next") == HEAD + raw
    assert upload.take_surplus() == b"next"
    upload.close()


@pytest.mark.parametrize("field", [length(2_000_000), CHUNKED], ids=["length", "chunked"])
async def test_client_that_sends_little_makes_us_hold_little(desk: Desk, field: bytes) -> None:
    upload = desk.upload(field)
    body = pattern(600_000) if field is not CHUNKED else chunked(pattern(600_000))[:600_000]
    for start, end in ((0, 10), (10, 100), (100, 30_000), (30_000, 600_000)):
        desk.gather(upload, body[start:end])
        assert upload.gathered == end
        assert desk.slabs.used_bytes <= 5 * end + SMALL_SLAB_BYTES
    upload.close()


async def test_body_that_comes_at_once_is_held_in_few_pieces(desk: Desk) -> None:
    desk.reservoirs.stores._most = 0
    upload = desk.upload(length(3 * SLAB_BYTES))
    assert isinstance(upload, Upload)
    desk.gather(upload, pattern(3 * SLAB_BYTES))
    assert len(upload._pieces) == 3
    upload.close()


@replaces_a_part
@pytest.mark.parametrize(("chunk", "most"), [(b"1\r\nx\r\n", FINE_READ_BYTES), (chunked(bytes(4000))[:-5], SLAB_BYTES)])
@pytest.mark.parametrize("held", [True, False])
async def test_tiny_chunks_are_read_in_small_helpings(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, chunk: bytes, most: int, held: bool
) -> None:
    sizes: list[int] = []
    real = Channel.receive_into

    def measured(channel: Channel, view: memoryview) -> int | None:
        sizes.append(len(view))
        return real(channel, view)

    monkeypatch.setattr(Channel, "receive_into", measured)
    upload = desk.upload(CHUNKED, limits=Limits() if held else Limits(request_buffer_bytes=0))
    upload.start(HEAD)
    body = chunk * (800_000 // len(chunk)) + b"0\r\n\r\n"
    if held:
        assert desk.gather(upload, body)
    else:
        assert desk.sent(upload, body) == HEAD + body
    assert sizes[0] <= FIRST_READ_BYTES
    assert FINE_READ_BYTES // 2 <= max(sizes[1:]) <= most
    assert most == FINE_READ_BYTES or max(sizes) > FINE_READ_BYTES
    upload.close()


async def test_bodies_too_large_to_be_held_whole_leave_most_memory_to_others(desk: Desk) -> None:
    limits = Limits(request_buffer_bytes=2 * SLAB_BYTES)
    body = pattern(2 * SLAB_BYTES + 1)
    large = desk.upload(length(len(body)), limits=limits)
    assert desk.gather(large, body[:SLAB_BYTES]), "a quarter is full: it streams from here on"
    assert not large.is_gathered
    assert desk.slabs.used_bytes <= STREAMED_SHARE * desk.slabs.capacity_bytes
    fitting = desk.upload(length(2 * SLAB_BYTES), limits=limits)
    assert desk.gather(fitting, body[:-1])
    assert fitting.whole
    large.start(HEAD)
    assert desk.sent(large, body[SLAB_BYTES:]) == HEAD + body
    for one in (large, fitting):
        one.close()


async def test_without_memory_the_body_is_streamed(desk: Desk) -> None:
    while desk.slabs.take(SLAB_BYTES) is not None:
        pass
    body = pattern(400_000)
    upload = desk.upload(length(len(body)))
    assert desk.gather(upload)
    assert not upload.whole
    upload.start(HEAD)
    assert desk.sent(upload, body) == HEAD + body
    upload.close()
    desk.slabs.used_bytes = 0


async def test_declared_body_over_the_limit_is_refused(desk: Desk) -> None:
    with pytest.raises(RequestError) as refusal:
        desk.upload(length(101), limits=Limits(body_bytes=100))
    assert refusal.value.status == 413


async def test_chunked_body_over_the_limit_is_refused_as_it_comes(desk: Desk) -> None:
    upload = desk.upload(CHUNKED, limits=Limits(body_bytes=100))
    with pytest.raises(RequestError) as refusal:
        desk.gather(upload, chunked(b"x" * 101))
    assert refusal.value.status == 413
    upload.close()


async def test_client_that_ends_inside_its_body_is_noticed(desk: Desk) -> None:
    upload = desk.upload(length(100))
    desk.gather(upload, b"half")
    desk.far_client.close()
    with pytest.raises(SourceBroke):
        desk.gather(upload)
    upload.close()


async def test_backend_that_is_gone_is_noticed(desk: Desk) -> None:
    upload = desk.upload(length(50_000))
    desk.gather(upload, pattern(50_000))
    upload.start(HEAD)
    desk.far_backend.close()
    with pytest.raises(SinkBroke):
        upload.pump(desk.backend, desk.pipes)
    upload.close()
