"""A worker that keeps a journal and misbehaves when told: `worker.py NAME PORT JOURNAL MODE_FILE`.

The mode is read for each request: `ok`, `error` (500 at once), `truncate` (closes inside the reply), `reset` (the same
with a reset) or `slow`. SIGUSR1 has it refuse connections, SIGUSR2 accept them again; those that stand stay. What has
no X-Request-Id, as health checks have none, is never answered.

For each request one line is appended when it starts and one when it ends: `start ID TIME`, then `end`, `error` or
`broke`; `serving - TIME` begins a life. Each line is one write, so a killed worker leaves whole lines and loses none.
"""

import asyncio
import os
import random
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Coroutine

WORK_S = (0.003, 0.015)
SLOW_S = 0.1
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
HEAD = b"HTTP/1.1 %b\r\nContent-Length: %d\r\nX-Worker: %b\r\n\r\n"


class Worker:
    """One service."""

    def __init__(self, name: str, journal: str, mode_file: str) -> None:
        self.name = name.encode()
        self.mode_file = mode_file
        self.journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, event: str, job: str) -> None:
        """One line of the journal."""
        os.write(self.journal, f"{event} {job} {time.time():.4f}\n".encode())

    def mode(self) -> str:
        """How to behave now."""
        with open(self.mode_file) as file:
            return file.read().strip() or "ok"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while await self.answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one; False when the connection is over."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        body = await reader.readexactly(int(fields.get("content-length", "0")))
        if "x-request-id" not in fields:  # a health check
            await asyncio.Event().wait()
        job, mode = fields["x-request-id"], self.mode()
        self.note("start", job)
        if mode == "error":
            self.note("error", job)
            writer.write(HEAD % (b"500 Internal Server Error", 4, self.name) + b"oops")
            return True
        await asyncio.sleep(SLOW_S if mode == "slow" else random.uniform(*WORK_S))
        reply = HEAD % (b"200 OK", 1000, self.name) + body.ljust(1000, b".")
        if mode in ("truncate", "reset"):
            self.note("broke", job)
            writer.write(reply[:-500])
            await writer.drain()
            if mode == "reset":
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            return False
        self.note("end", job)
        writer.write(reply)
        return True


class Door:
    """The listening socket, closed and opened again when told."""

    def __init__(self, worker: Worker, port: int) -> None:
        self._worker = worker
        self._port = port
        self._server: asyncio.Server | None = None
        self._said = asyncio.Lock()  # one word after the other

    async def open(self) -> None:
        """Accept connections."""
        async with self._said:
            if self._server is None:
                self._server = await asyncio.start_server(self._worker.serve, "127.0.0.1", self._port, reuse_port=True)
            print("serving", file=sys.stderr, flush=True)

    async def close(self) -> None:
        """Refuse them."""
        async with self._said:
            if self._server is not None:
                self._server.close()
                self._server = None
            print("refusing", file=sys.stderr, flush=True)


async def main(name: str, port: str, journal: str, mode_file: str) -> None:
    """Serve until killed."""
    worker = Worker(name, journal, mode_file)
    door, loop = Door(worker, int(port)), asyncio.get_running_loop()
    words: set[asyncio.Task[None]] = set()

    def follow(word: Callable[[], Coroutine[None, None, None]]) -> None:
        words.add(task := loop.create_task(word()))
        task.add_done_callback(words.discard)

    loop.add_signal_handler(signal.SIGUSR1, follow, door.close)
    loop.add_signal_handler(signal.SIGUSR2, follow, door.open)
    worker.note("serving", "-")
    await door.open()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
