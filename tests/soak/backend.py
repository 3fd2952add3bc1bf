"""A backend in the test's own loop: answers by path, and reads uploads as fast or as slowly as it is told.

`/` says `ok`, `/large` sends 100 MB, `/slow` waits a moment, `/break` breaks off inside its reply.
"""

import asyncio
import contextlib

LARGE_BYTES = 100_000_000
PIECE = bytes(64 * 1024)


class Backend:
    """One listening backend; `requests` counts what it was asked."""

    def __init__(self, *, read_pause_s: float = 0.0) -> None:
        self._read_pause_s = read_pause_s
        self._server: asyncio.Server | None = None
        self.requests = 0
        self.url = ""

    async def __aenter__(self) -> "Backend":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=64 * 1024)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            while await self._answer(reader, writer):
                pass
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        self.requests += 1
        await self._take_body(reader, head)
        path = head.split(b" ", 2)[1]
        if path == b"/slow":
            await asyncio.sleep(0.02)
        if path == b"/break":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            return False
        if path == b"/large":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE_BYTES)
            for _ in range(0, LARGE_BYTES, len(PIECE)):
                writer.write(PIECE)
                await writer.drain()
            return False
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        return True

    async def _take_body(self, reader: asyncio.StreamReader, head: bytes) -> None:
        _, found, rest = head.partition(b"\r\ncontent-length: ")
        left = int(rest.split(b"\r\n")[0]) if found else 0
        while left:
            data = await reader.read(min(left, 64 * 1024))
            if not data:
                raise EOFError
            left -= len(data)
            await asyncio.sleep(self._read_pause_s)
