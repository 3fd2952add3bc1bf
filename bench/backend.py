"""The services behind the balancers: so cheap that they are not what is measured.

    python -m bench.backend COUNT      listens on COUNT free loopback ports, prints them as JSON, serves for ever

Drains bodies by Content-Length or by chunks and answers 1 KB of JSON that says how many bytes came, or with
`?bytes=N`, N bytes. A wrong path is 404, a missing X-Forwarded-For 400: a balancer that skips its job is found out.
WebSocket messages come back as they were (those of `bench.messages`: one frame each, at most 64 KB, masked with zeros).
"""

import asyncio
import functools
import json
import re
import sys
from typing import cast

from bench.loops import run
from bench.messages import ACCEPTED, PLAIN, REPLY_BYTES, SERVED

DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT"  # as every real service has one
BUFFER_BYTES = 256 * 1024
FRAME_HEAD_BYTES = 8  # 2, a length of 2, a mask of 4
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_FORWARDED = re.compile(rb"\r\nx-forwarded-for:", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_UPGRADE = re.compile(rb"\r\nupgrade: *websocket", re.IGNORECASE)
_DOWNLOAD = re.compile(rb"[?&]bytes=(\d+)")

_shared = memoryview(bytearray(BUFFER_BYTES))  # one thread, and nothing is kept in it between two reads


@functools.lru_cache(maxsize=64)
def reply(status: int, received: int, size: int) -> bytes:
    """A whole reply; `received` is told in the first bytes of its body."""
    opening = b'{"received": %d, "text": "' % received
    content = opening + b"x" * (size - len(opening) - 2) + b'"}'
    fields = b"Content-Type: application/json\r\nContent-Length: %d\r\n%b\r\n" % (size, DATE)
    return b"HTTP/1.1 %d -\r\n%b\r\n%b" % (status, fields, content)


class Chunks:
    """Skips through a chunked body; `done` after its last byte. Trailers are not understood."""

    def __init__(self) -> None:
        self.payload = 0
        self.done = False
        self._skip = 0
        self._line = b""
        self._last = False

    def feed(self, data: memoryview) -> None:
        """Take what came."""
        at, end = 0, len(data)
        while at < end:
            step = min(self._skip, end - at)
            self._skip -= step
            at += step
            if at < end:
                newline = bytes(data[at : at + 32]).find(b"\n")
                stop = min(at + 32, end) if newline < 0 else at + newline + 1
                self._line += bytes(data[at:stop])
                at = stop
                if newline >= 0:
                    self._take_line()

    def _take_line(self) -> None:
        line, self._line = self._line, b""
        if self._last:
            self.done = True
            return
        size = int(line, 16)
        self.payload += size
        self._last = size == 0
        self._skip = size + 2 if size else 0


class Frames:
    """Turns a client's messages into the service's: the same without the mask."""

    def __init__(self) -> None:
        self._came = b""

    def feed(self, data: memoryview) -> bytes:
        """Take what came; return what is to be sent back."""
        came = self._came + bytes(data)
        at, out = 0, []
        while len(came) - at >= FRAME_HEAD_BYTES:
            end = at + FRAME_HEAD_BYTES + int.from_bytes(came[at + 2 : at + 4], "big")
            if end > len(came):
                break
            out.append(b"\x82\x7e" + came[at + 2 : at + 4] + came[at + FRAME_HEAD_BYTES : end])
            at = end
        self._came = came[at:]
        return b"".join(out)


class Service(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._received = 0
        self._chunks: Chunks | None = None
        self._status = 200
        self._size = REPLY_BYTES
        self._close = False
        self._frames: Frames | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only

    def get_buffer(self, sizehint: int) -> memoryview:
        return _shared

    def buffer_updated(self, count: int) -> None:
        data = _shared[:count]
        if self._frames is not None:
            self._transport.write(self._frames.feed(data))
            return
        if self._left:
            self._left -= count
        elif self._chunks is not None:
            self._chunks.feed(data)
        elif not self._take_head(data):
            return
        if self._left == 0 and (self._chunks is None or self._chunks.done):
            self._answer()

    def _take_head(self, data: memoryview) -> bool:
        self._head += bytes(data)
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return False
        head, rest = self._head[: end + 2], self._head[end + 4 :]
        self._head = b""
        target = head[: head.index(b"\r\n")].split(b" ")[1]
        path = target.partition(b"?")[0].decode()
        self._status = 200 if path in (SERVED, PLAIN) else 404
        if path == SERVED and not _FORWARDED.search(head):
            self._status = 400
        download = _DOWNLOAD.search(target)
        self._size = int(download[1]) if download else REPLY_BYTES
        self._close = bool(_CLOSE.search(head))
        if _UPGRADE.search(head) and self._status == 200:
            self._frames = Frames()
            self._transport.write(ACCEPTED)
            return False
        length = _LENGTH.search(head)
        self._received = int(length[1]) if length else 0
        self._left = self._received - len(rest) if length else 0
        if _CHUNKED.search(head):
            self._chunks = Chunks()
            self._chunks.feed(memoryview(rest))
        return True

    def _answer(self) -> None:
        received = self._received if self._chunks is None else self._chunks.payload
        self._chunks = None
        self._transport.write(reply(self._status, received, self._size))
        if self._close:
            self._transport.close()


async def serve(count: int) -> None:
    """Listen, say where, and serve until the process is ended."""
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Service, "127.0.0.1", 0, backlog=1024) for _ in range(count)]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    run(serve(int(sys.argv[1])))
