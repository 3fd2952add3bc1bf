"""A backend in the test's own loop: answers by path, and reads uploads as fast or as slowly as it is told.

`/` says `ok`, `/large` sends 100 MB, `/slow` waits a moment before it says `ok`.
"""

import asyncio
import socket
from collections.abc import Coroutine

LARGE_BYTES = 100_000_000
PIECE = bytes(64 * 1024)


class Backend:
    """One listening backend; it pauses after each piece of an upload."""

    def __init__(self, *, read_pause_s: float = 0.0) -> None:
        self._loop = asyncio.get_running_loop()
        self._read_pause_s = read_pause_s
        self._sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._sock.setblocking(False)
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = f"http://127.0.0.1:{self._sock.getsockname()[1]}/"

    async def __aenter__(self) -> "Backend":
        self._start(self._accept())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._sock.close()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        while True:
            sock, _ = await self._loop.sock_accept(self._sock)
            sock.setblocking(False)
            self._start(self._serve(sock))

    async def _serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                while await self._answer(sock):
                    pass
            except (OSError, EOFError):
                pass

    async def _answer(self, sock: socket.socket) -> bool:
        head, rest = await self._read_head(sock)
        _, found, length = head.partition(b"\r\ncontent-length: ")
        if b"\r\ntransfer-encoding: " in head:
            await self._take_chunks(sock, rest)
        else:
            await self._take_body(sock, int(length.split(b"\r\n")[0]) - len(rest) if found else 0)
        path = head.split(b" ", 2)[1]
        send = self._loop.sock_sendall
        if path == b"/slow":
            await asyncio.sleep(0.02)
        if path == b"/large":
            await send(sock, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE_BYTES)
            for start in range(0, LARGE_BYTES, len(PIECE)):
                await send(sock, memoryview(PIECE)[: LARGE_BYTES - start])
            return True
        await send(sock, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return True

    async def _read(self, sock: socket.socket, size: int) -> bytes:
        data = await self._loop.sock_recv(sock, size)
        if not data:
            raise EOFError
        return data

    async def _read_head(self, sock: socket.socket) -> tuple[bytes, bytes]:
        """A head in lower case, and what came along with it."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += await self._read(sock, 64 * 1024)
        head, _, rest = data.partition(b"\r\n\r\n")
        return head.lower(), rest

    async def _take_body(self, sock: socket.socket, left: int) -> None:
        while left > 0:
            left -= len(await self._read(sock, min(left, 64 * 1024)))
            await asyncio.sleep(self._read_pause_s)

    async def _take_chunks(self, sock: socket.socket, tail: bytes) -> None:
        while not tail.endswith(b"\r\n0\r\n\r\n"):  # which no data of these tests looks like
            tail = tail[-7:] + await self._read(sock, 64 * 1024)
            await asyncio.sleep(self._read_pause_s)
