"""Clients that send one request after the other, each with its own id, and note what became of each."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from .books import LEFT, Outcome

CLIENTS = 24
LEAVE = 0.01  # of all requests, the share of those whose client does not wait for the reply
STAY_S = 0.02  # for at most so long
PATIENCE_S = 90.0
BODY = b"page"


def request(job: str, method: str) -> bytes:
    """The bytes of a request."""
    body = BODY if method == "POST" else b""
    head = f"{method} / HTTP/1.1\r\nHost: a\r\nX-Request-Id: {job}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@dataclass
class Load:
    """So many requests from so many clients; `on_answer` is told the number answered so far.

    The share `leave` of them does not wait for the reply, the share `gets` may run twice.
    """

    port: int
    requests: int
    seed: int
    on_answer: Callable[[int], None] = lambda count: None
    leave: float = LEAVE
    gets: float = 0.4
    clients: int = CLIENTS
    outcomes: list[Outcome] = field(default_factory=list)
    _sent: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def unanswered(self) -> set[str]:
        """The jobs that were sent and are not answered yet."""
        return {f"job-{number}" for number in range(1, self._sent + 1)} - {one.job for one in self.outcomes}

    def stop(self) -> None:
        """Let the clients end after the requests that they have sent."""
        self.requests = 0

    async def wait_for(self, answers: int) -> None:
        """Until so many more were answered."""
        wanted = len(self.outcomes) + answers
        async with asyncio.timeout(PATIENCE_S):
            while len(self.outcomes) < wanted:
                self._changed.clear()
                await self._changed.wait()

    async def run(self) -> None:
        """Send all of them."""
        await asyncio.gather(*(self._client(random.Random(f"{self.seed} {number}")) for number in range(self.clients)))

    async def _client(self, rng: random.Random) -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while self._sent < self.requests:
            self._sent += 1
            job = f"job-{self._sent}"
            method = "GET" if rng.random() < self.gets else "POST"
            if streams is None:
                streams = await asyncio.open_connection("127.0.0.1", self.port)
            ask = self._leave if rng.random() < self.leave else self._ask
            async with asyncio.timeout(PATIENCE_S):
                outcome, persists = await ask(*streams, job, method)
            if not persists:
                streams[1].close()
                streams = None
            self.outcomes.append(outcome)
            self._changed.set()
            self.on_answer(len(self.outcomes))
        if streams is not None:
            streams[1].close()

    async def _leave(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, job: str, method: str
    ) -> tuple[Outcome, bool]:
        writer.write(request(job, method))
        await asyncio.sleep(random.uniform(0, STAY_S))
        return Outcome(job, method, LEFT), False

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, job: str, method: str
    ) -> tuple[Outcome, bool]:
        try:
            writer.write(request(job, method))
            start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            await reader.readexactly(int(fields["content-length"]))
        except (ConnectionError, asyncio.IncompleteReadError):
            return Outcome(job, method, 0), False
        persists = fields.get("connection", "") != "close"
        return Outcome(job, method, int(start.split(" ")[1]), fields.get("x-worker", "")), persists
