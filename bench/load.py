"""The load generator: sends exactly N requests of a workload, checks every reply, prints what it saw as JSON.

    python -m bench.load ORDER      (JSON of `Order`)

It opens all connections and prints a line; a line on its standard input lets it send; it prints what it saw, and
closes the connections when its standard input ends. So opening and closing are no part of what is measured, except
where the workload is a connection for each request.

Closed loop: each connection has one request under way, and sends the next when the reply has come. Open loop (a rate
is given): requests are sent at their times whatever became of the others, and a latency counts from that time, so
that a stalled balancer cannot slow its own examination down (no coordinated omission).
"""

import asyncio
import json
import selectors
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from bench import loops
from bench.messages import KIB, UPGRADE, direct
from bench.replies import Echo, HttpReply
from bench.workloads import BY_NAME, Workload

DEADLINE_S = 120.0
OPENED_AT_ONCE = 64
MOST_CONNECTIONS = 900  # of an open loop: select(2) takes no more than 1024 descriptors
PERCENTILES = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be sent."""

    workload: str
    port: int
    clients: int
    requests: int
    rate: float = 0.0  # requests a second; 0: closed loop
    is_primed: bool = False  # each connection is served once before it counts as open
    is_direct: bool = False  # there is no balancer: the requests look as if there were


@dataclass
class Tally:
    """What is still to be sent, and what came of the rest."""

    workload: Workload
    order: Order
    begun: int = 0
    times_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def has_more(self) -> bool:
        """Whether requests are still to be sent."""
        return self.begun < self.order.requests

    def next(self) -> bytes:
        """The next request."""
        self.begun += 1
        request = self.workload.request(self.begun - 1)
        return direct(request) if self.order.is_direct else request

    def count(self, time_s: float, error: str = "") -> None:
        """One request has ended."""
        if error:
            self.errors[error] += 1
        self.times_s.append(time_s)
        if len(self.times_s) == self.order.requests:
            self.ended.set()


class Crew:
    """All clients of one run."""

    def __init__(self, order: Order) -> None:
        self.tally = Tally(BY_NAME[order.workload], order)
        self.order = order
        self.free: deque[Client] = deque()  # of an open loop
        self._due = 0  # how many requests of an open loop have come due
        self._late: deque[float] = deque()  # when they were, of those for which there is no connection
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def open_all(self) -> None:
        """Open the connections that are there before the first request."""
        opening = asyncio.Semaphore(OPENED_AT_ONCE)

        async def open_one() -> None:
            async with opening:
                self.free.append(await self._open())

        await asyncio.gather(*(open_one() for _ in range(self.order.clients)))

    async def _open(self) -> "Client":
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: Client(self), "127.0.0.1", self.order.port)
        self._connections += 1
        await client.opened
        return client

    async def send_all(self) -> float:
        """Send all requests; return how long it took."""
        began = time.monotonic()
        if self.order.rate:
            self._keep_pace(began)
        elif self.tally.workload.reconnects:
            for _ in range(min(self.order.clients, self.order.requests)):
                self._spawn(None)
        else:
            for client in list(self.free):
                client.send_next()
        await self.tally.ended.wait()
        return time.monotonic() - began

    def _keep_pace(self, due: float) -> None:
        """Send every request that is due, and come back for the next one."""
        while self._due < self.order.requests and due <= time.monotonic():
            self._due += 1
            if self.free:
                self.free.popleft().send(self.tally.next(), due)
            elif self._connections + len(self._tasks) < MOST_CONNECTIONS:
                self._spawn(due)
            else:
                self._late.append(due)
            due += 1 / self.order.rate
        if self._due < self.order.requests:
            asyncio.get_running_loop().call_at(due, self._keep_pace, due)

    def _spawn(self, due: float | None) -> None:
        """Open another connection and send a request on it."""
        task = asyncio.ensure_future(self._join(due))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, due: float | None) -> None:
        due = due or time.monotonic()
        try:
            client = await self._open()
        except OSError as error:
            if self.tally.has_more:
                self.tally.next()
                self.tally.count(time.monotonic() - due, f"cannot connect: {error.strerror}")
                await asyncio.sleep(0)
                self.replace()
        else:
            if self.tally.has_more:
                client.send(self.tally.next(), due)

    def finished(self, client: "Client") -> None:
        """A client has its reply."""
        if not self.order.rate:
            client.send_next()
        elif self._late:
            client.send(self.tally.next(), self._late.popleft())
        else:
            self.free.append(client)

    def replace(self) -> None:
        """A connection is gone, or could not be made."""
        if self._late:
            self._spawn(self._late.popleft())
        elif not self.order.rate and self.tally.has_more:
            self._spawn(None)

    def lost(self, client: "Client") -> None:
        """A connection has ended."""
        self._connections -= 1
        with suppress(ValueError):
            self.free.remove(client)
        self.replace()


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._tally = crew.tally
        self._reply = Echo(KIB) if self._tally.workload.is_websocket else HttpReply(self._tally.workload)
        self._is_waiting = False
        self._began = 0.0
        self._greeting = b""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        if self._tally.workload.is_websocket:
            self._transport.write(UPGRADE)
        elif self._crew.order.is_primed:
            self._transport.write(self._tally.workload.request(0))
        else:
            self.opened.set_result(None)

    def send_next(self) -> None:
        """Send the next request, if there is one."""
        if self._tally.has_more:
            self.send(self._tally.next(), time.monotonic())

    def send(self, request: bytes, began: float) -> None:
        """Send this request, which counts from `began`."""
        self._is_waiting = True
        self._began = began
        self._reply.begin()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if not self.opened.done():
            self._greet(data)
        elif self._reply.feed(data):
            self._finish()

    def _greet(self, data: bytes) -> None:
        """What comes back before the connection counts as open."""
        if not self._tally.workload.is_websocket:
            if self._reply.feed(data):
                self._settle(self._reply.error)
            return
        self._greeting += data
        if b"\r\n\r\n" in self._greeting:
            self._settle("" if b" 101 " in self._greeting[:13] else "no 101 Switching Protocols")

    def _settle(self, error: str) -> None:
        if error:
            self.opened.set_exception(ConnectionError(error))
        else:
            self.opened.set_result(None)

    def _finish(self) -> None:
        self._is_waiting = False
        self._tally.count(time.monotonic() - self._began, self._reply.error)
        if self._tally.workload.reconnects or self._reply.closes:
            self._transport.close()
        else:
            self._crew.finished(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._tally.count(time.monotonic() - self._began, "the connection was closed before the reply")
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the connection was closed"))
        self._crew.lost(self)


async def generate(order: Order) -> None:
    """Serve one order, in step with whoever gave it."""
    crew = Crew(order)
    workload = crew.tally.workload
    workload.request(0)  # builds what is shared before the clock runs
    if not workload.reconnects:
        await asyncio.wait_for(crew.open_all(), DEADLINE_S)
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    if not await loop.run_in_executor(None, sys.stdin.readline):
        return
    seconds = await asyncio.wait_for(crew.send_all(), DEADLINE_S)
    times_ms = sorted(1e3 * one for one in crew.tally.times_s)
    seen = {name: times_ms[min(len(times_ms) - 1, int(len(times_ms) * part))] for name, part in PERCENTILES.items()}
    print(json.dumps({"seconds": seconds, "errors": dict(crew.tally.errors), **seen}), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)


def new_precise_loop() -> asyncio.AbstractEventLoop:
    """A loop whose timers are exact to some microseconds: epoll(7), uvloop's too, only knows whole milliseconds."""
    with suppress(OSError):
        Path("/proc/self/timerslack_ns").write_text("1")  # prctl(2), PR_SET_TIMERSLACK: 50 us by default
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    given = Order(**json.loads(sys.argv[1]))
    with asyncio.Runner(loop_factory=new_precise_loop if given.rate else loops.new_event_loop) as runner:
        try:
            runner.run(generate(given))
        except OSError as failure:  # a time-out is one, too
            sys.exit(str(failure) or f"not done after {DEADLINE_S:g} s")
