"""Workers that sleep instead of computing, over real sockets: the simulator's own (`sim_workers`), on the real clock.

    python -m bench.live_workers JSON     # a list of worker specifications

One process serves all workers of a fleet. It prints the list of their ports; a line on its standard input is time
zero, from which the faults count. A request says its work in `X-Work`; the answer is a small JSON text.
"""

import asyncio
import json
import math
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, cast

from bench import loops
from bench.sim_workers import Faults, Job, Shared, Slots, Worker, WorkerSpec
from ocr_tcp_lb.balance import Outcome

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"text": ""}'
FAILURE = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


def to_json(workers: Sequence[WorkerSpec]) -> str:
    """Write specifications for the command line."""
    return json.dumps([asdict(spec) for spec in workers])


def from_json(text: str) -> list[WorkerSpec]:
    """Read them."""
    return [WorkerSpec(**{**one, "faults": Faults(**one["faults"])}) for one in json.loads(text)]


class Clock:
    """The engine of `sim_workers`, in real time; it stands at 0 until `start`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._zero = math.inf
        self._ahead: list[tuple[float, Callable[[], None]]] = []

    @property
    def now(self) -> float:
        return max(0.0, self._loop.time() - self._zero)

    @now.setter
    def now(self, value: float) -> None:
        raise AssertionError("real time is not set")

    def start(self) -> None:
        self._zero = self._loop.time()
        for when, call in self._ahead:
            self.at(when, call)

    def at(self, when: float, call: Callable[[], None]) -> None:
        if self._zero == math.inf:
            self._ahead.append((when, call))
        elif when < math.inf:
            self._loop.call_at(self._zero + when, call)

    def answer(self, job: Job, outcome: Outcome) -> None:
        assert isinstance(job.lease, Connection)
        job.lease.answer(outcome)


class Connection(asyncio.Protocol):
    """One connection: requests one after the other, each a job."""

    _transport: asyncio.Transport

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by name

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = bytes(self._received).partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        if end and len(body) >= int(fields.get(b"content-length", b"0")):
            self._received.clear()
            self._worker.start(Job(self, float(fields.get(b"x-work", b"0"))))

    def answer(self, outcome: Outcome) -> None:
        if outcome is Outcome.SERVED:
            self._transport.write(ANSWER)
        elif outcome is Outcome.SERVER_ERROR:
            self._transport.write(FAILURE)
        else:
            self._transport.abort()


class House:
    """One worker behind its port; while it is dead, nobody listens there."""

    def __init__(self, spec: WorkerSpec, clock: Clock) -> None:
        self._worker = (Shared if spec.is_shared else Slots)(spec, clock)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[int]] = set()
        self.port = 0
        clock.at(spec.faults.dead_from, self._close)
        clock.at(spec.faults.dead_until, self._reopen)

    async def open(self) -> int:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self._worker), "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    def _close(self) -> None:
        assert self._server is not None
        self._server.close()

    def _reopen(self) -> None:
        task = asyncio.ensure_future(self.open())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def main(arguments: Sequence[str]) -> None:
    loop = asyncio.get_running_loop()
    clock = Clock(loop)
    houses = [House(spec, clock) for spec in from_json(arguments[0])]
    print(json.dumps([await house.open() for house in houses]), flush=True)
    ended = asyncio.Event()
    threading.Thread(target=_listen, args=(loop, clock, ended), daemon=True).start()
    await ended.wait()


def _listen(loop: asyncio.AbstractEventLoop, clock: Clock, ended: asyncio.Event) -> None:
    """A line starts the clock, the end of the input ends the process."""
    lines: Any = sys.stdin
    for _ in lines:
        loop.call_soon_threadsafe(clock.start)
    loop.call_soon_threadsafe(ended.set)


if __name__ == "__main__":
    loops.run(main(sys.argv[1:]))
