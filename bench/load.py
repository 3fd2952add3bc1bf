"""The load generator: sends exactly N requests of a workload, checks every reply, prints what it saw as JSON.

    python -m bench.load WORKLOAD PORT REQUESTS

Closed loop: each connection has one request under way, and sends the next when the reply has come. Every reply
must be a 200 of the expected length which confirms the bytes sent; the rest are counted and described in `errors`.
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

from bench.loops import run
from bench.workloads import BY_NAME, REPLY_BYTES, Workload

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
DEADLINE_S = 120.0


@dataclass
class Tally:
    """What is still to be sent, and what came of the rest."""

    workload: Workload
    requests: int
    begun: int = 0
    times_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def next(self) -> bytes | None:
        """The next request, None when all are under way."""
        if self.begun == self.requests:
            return None
        self.begun += 1
        return self.workload.request(self.begun - 1)

    def count(self, time_s: float, error: str = "") -> None:
        """One request has ended."""
        if error:
            self.errors[error] += 1
        self.times_s.append(time_s)
        if len(self.times_s) == self.requests and not self.ended.done():
            self.ended.set_result(None)


class Client(asyncio.Protocol):
    """One connection; `over` is set when it has closed."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._is_waiting = False
        self._began = 0.0
        self._start = b""  # of the reply: its head, and as much of its body as is looked at
        self._in_head = True
        self._left = 0  # bytes of the body still to come
        self._error = ""
        self._closes = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        self._send()

    def _send(self) -> None:
        request = self._tally.next()
        if request is None:
            self._transport.close()
            return
        self._is_waiting = True
        self._start, self._in_head, self._error = b"", True, ""
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._start += data
            end = self._start.find(b"\r\n\r\n")
            if end < 0:
                return
            self._judge_head(self._start[: end + 2])
            self._left -= len(self._start) - end - 4
        else:
            self._left -= len(data)
            if len(self._start) < REPLY_BYTES:
                self._start += data
        if self._left <= 0:
            self._finish()

    def _judge_head(self, head: bytes) -> None:
        workload = self._tally.workload
        self._in_head = False
        length = _LENGTH.search(head)
        self._left = int(length[1]) if length else 0
        self._closes = bool(_CLOSE.search(head))
        if b" 200 " not in head[:13]:
            self._error = head[: head.index(b"\r\n")].decode("latin-1")
        elif self._left != workload.reply_bytes:
            self._error = f"a reply of {self._left} bytes instead of {workload.reply_bytes}"

    def _finish(self) -> None:
        error = self._error
        if not error and self._left < 0:
            error = "bytes after the reply"
        if not error and b'{"received": %d,' % self._tally.workload.body_bytes not in self._start:
            error = "not all of the body arrived"
        self._is_waiting = False
        self._tally.count(time.perf_counter() - self._began, error)
        if self._tally.workload.reconnects or self._closes:
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._tally.count(time.perf_counter() - self._began, "the connection was closed before the reply")
        if not self.over.done():
            self.over.set_result(None)


async def keep_connected(tally: Tally, port: int) -> None:
    """One client: a connection after the other as long as there is something to send."""
    loop = asyncio.get_running_loop()
    while tally.begun < tally.requests:
        _, client = await loop.create_connection(lambda: Client(tally), "127.0.0.1", port)
        await client.over


async def generate(workload: Workload, port: int, requests: int) -> dict[str, object]:
    """Send all requests; return the counts and times."""
    tally = Tally(workload, requests)
    workload.request(0)  # builds what is shared before the clock runs
    began = time.perf_counter()
    clients = [asyncio.ensure_future(keep_connected(tally, port)) for _ in range(min(workload.connections, requests))]
    await asyncio.wait_for(asyncio.gather(tally.ended, *clients), DEADLINE_S)
    seconds = time.perf_counter() - began
    times_ms = sorted(1e3 * one for one in tally.times_s)
    return {
        "requests": requests,
        "seconds": seconds,
        "p50_ms": times_ms[len(times_ms) // 2],
        "p99_ms": times_ms[min(len(times_ms) - 1, len(times_ms) * 99 // 100)],
        "errors": dict(tally.errors),
    }


if __name__ == "__main__":
    print(json.dumps(run(generate(BY_NAME[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3])))))
