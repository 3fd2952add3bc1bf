"""Random exchanges in a simulated world: bytes out equal bytes in, or the exchange is visibly broken; nothing leaks.

    python -m tests.fuzz.exchanges --count 1_000_000 [--seed 1]

Each world is one balancer (the real relay, wire and balance rooms on a simulated loop), one to three backends and one
to four clients with up to six requests each. Its number is its seed: a failure names the number, and
`--seed NUMBER --count 1` shows it again.
"""

import argparse
import errno
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol
from unittest import mock

from ocr_tcp_lb.app import build_hub
from ocr_tcp_lb.config import BackendConfig, Config, Limits, QueueConfig, Timeouts
from ocr_tcp_lb.relay.client import Client as BalancersClient
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.readiness import Channel
from ocr_tcp_lb.relay.reservoir import Reservoirs
from ocr_tcp_lb.relay.session import Session
from ocr_tcp_lb.relay.splice import Pipes
from ocr_tcp_lb.relay.tcp import TcpSession
from ocr_tcp_lb.wire import ReplyParser, RequestParser

from .backends import Backend
from .clients import Client
from .plans import Ledger, plan
from .simulation import Epoll, Loop, Pipe, Socket

MOST_TURNS = 200_000
LIMITS = Limits(head_bytes=2048, body_bytes=8_000, request_buffer_bytes=2048, buffer_memory_bytes=16_384)
TIMEOUTS = Timeouts(connect_s=1.0, head_s=2.0, idle_s=4.0, response_s=8.0)
BACKENDS = tuple(BackendConfig(f"b{number}", "192.0.2.9", 5000 + number) for number in range(1, 4))
PARSERS = RequestParser(), ReplyParser()  # shared, so that they meet a full cache


class Actor(Protocol):
    """Somebody at the far end of a connection."""

    def act(self) -> bool:
        """Do one thing; False if there is nothing to do."""


class World:
    """One history."""

    def __init__(self, seed: int) -> None:
        self._chance = chance = random.Random(seed)
        self.ledger = Ledger()
        self._loop = Loop(chance)
        self._actors: list[Actor] = []
        self._sessions = 0
        self._clients: list[BalancersClient] = []
        self._last_turn = chance.randint(1, 300) if chance.random() < 0.05 else MOST_TURNS
        self.exchanges = 0
        self.hedges = 0
        self._is_down = chance.random() < 0.1
        self._hub = self._make_hub()

    def _config(self) -> Config:
        chance = self._chance
        return Config(
            backends=BACKENDS[: chance.randint(1, 3)],
            queue=QueueConfig(chance.choice((1, 4)), timeout_s=3.0),
            limits=LIMITS,
            timeouts=TIMEOUTS,
            retries=chance.choice((0, 2)),
            hedge=chance.random() < 0.5,
        )

    def _make_hub(self) -> Hub:
        chance, config = self._chance, self._config()
        with (
            mock.patch("random.Random", return_value=chance),  # the fleet's own: one seed decides everything
            mock.patch("select.epoll", return_value=Epoll(self._loop, chance)),
        ):
            hub = build_hub(self._loop, config, self._count)  # type: ignore[arg-type]
        hub.requests, hub.replies = PARSERS
        hub.pipes = Pipes(chance.choice((0, 1, 3)))
        hub.reservoirs = Reservoirs(hub.pipes, hub.slabs, chance.choice((0, 1, 3)))
        hub.fleet.patience.note(0.001)
        return hub

    def _count(self, record: object) -> None:
        self.exchanges += 1

    def new_socket(self, family: int) -> "Outgoing":
        """A socket for the balancer's way to a backend."""
        return Outgoing(self, self._loop, self._chance)

    def new_pipe(self, size: int) -> Pipe:
        """A pipe, of any size."""
        return Pipe(self._loop, self._chance)

    def call(self, caller: "Outgoing") -> int:
        """A connect: it is taken at once, later, or never."""
        fate = self._chance.random()
        if fate < (0.5 if self._is_down else 0.03):
            return errno.ECONNREFUSED
        if fate < 0.06:
            self._loop.call_later(0.01, lambda: caller.fail(errno.ECONNREFUSED))
            return errno.EINPROGRESS
        if fate < 0.07:
            return errno.EINPROGRESS  # and silence
        theirs = Socket(self._loop, self._chance)
        if fate < 0.3:
            self._loop.call_later(0.001, lambda: self._answer(caller, theirs))
            return errno.EINPROGRESS
        self._answer(caller, theirs)
        return 0

    def _answer(self, caller: "Outgoing", theirs: Socket) -> None:
        if not caller.is_closed:
            caller.join(theirs)
            self._actors.append(Backend(theirs, self.ledger, self._chance, self._loop))

    def run(self) -> int:
        """Let it all happen; returns how many exchanges there were. Fails if an invariant does."""
        with (
            mock.patch("time.monotonic", self._loop.time),
            mock.patch("ocr_tcp_lb.relay.connecting._new_socket", self.new_socket),
            mock.patch("ocr_tcp_lb.relay.session.log.exception", _fail),
            mock.patch("ocr_tcp_lb.relay.tcp.log.exception", _fail),
            mock.patch.object(Channel, "unread_bytes", lambda channel: channel.sock.unread_bytes()),
            mock.patch.object(Channel, "unsent_bytes", lambda channel: channel.sock.unsent_bytes()),
            mock.patch("ocr_tcp_lb.relay.splice.Pipe", self.new_pipe),
            mock.patch("ocr_tcp_lb.relay.upload.SMALLEST_BYTES", 100),
            mock.patch("ocr_tcp_lb.balance.hedge.LEAST_S", 0.01),  # else hardly anything would be hedged
        ):
            self._populate()
            self._turn_until_all_have_left()
            self._check()
        return self.exchanges

    def _populate(self) -> None:
        for _ in range(self._chance.randint(1, 4)):
            self._enter()

    def _enter(self) -> None:
        """A client connects."""
        ours = Socket(self._loop, self._chance, is_balancers=True)
        theirs = Socket(self._loop, self._chance)
        ours.join(theirs)
        first = len(self.ledger.requests)
        planned = [plan(first + number, self._chance) for number in range(self._chance.randint(1, 6))]
        self.ledger.requests |= {one.number: one for one in planned}
        self._actors.append(Client(theirs, planned, self.ledger, self._chance))
        self._serve(ours, Session)

    def _serve(self, ours: Socket, session_type: type[Session] | type[TcpSession]) -> None:
        client = BalancersClient(self._hub, ours, "192.0.2.1")  # type: ignore[arg-type]
        self._sessions += 1
        self._clients.append(client)
        client.wakeup.drive(session_type(self._hub, client).run(), self._leave)

    def _leave(self) -> None:
        self._sessions -= 1

    def _turn_until_all_have_left(self) -> None:
        for turn in range(MOST_TURNS):
            if turn == self._last_turn:  # the balancer has no more patience
                for client in self._clients:
                    client.wakeup.cancel()
            if not self._sessions and not self._hub.runner_wakeups:
                self.hedges = self._hub.fleet.hedges
                return
            has_moved = self._loop.turn()
            for actor in tuple(self._actors):
                if self._chance.random() < 0.7:
                    has_moved = actor.act() or has_moved
            if not has_moved and not self._everybody_acts() and not self._loop.jump():
                break
        raise AssertionError(f"{self._sessions} sessions never ended")

    def _everybody_acts(self) -> bool:
        """Whether anybody, each asked once, had something to do."""
        return sum(actor.act() for actor in tuple(self._actors)) > 0

    def _check(self) -> None:
        """Everything was given back."""
        hub = self._hub
        assert sum(backend.in_flight for backend in hub.fleet.backends) == 0, hub.fleet.backends
        assert hub.fleet.waiting == 0
        assert hub.slabs.used_bytes == 0, hub.slabs
        assert len(hub.deadlines) == 0
        hub.close()
        assert not hub.poller._watched  # type: ignore[attr-defined]
        assert not self._loop.sockets, f"left open: {self._loop.sockets}"


def _fail(message: str, *values: object) -> None:
    """What a session would log as its own mistake ends the run."""
    raise AssertionError(f"{message % values}: {sys.exception()!r}")


class Outgoing(Socket):
    """A socket that the balancer connects to a backend."""

    def __init__(self, world: World, loop: Loop, chance: random.Random) -> None:
        super().__init__(loop, chance, is_balancers=True)
        self._world = world

    def connect_ex(self, address: object) -> int:
        return self._world.call(self)


def run(count: int, seed: int, report: Callable[[str], None] = lambda line: None) -> Counter[str]:
    """Simulate worlds until they had `count` exchanges; returns what became of those."""
    came: Counter[str] = Counter()
    began, number, reported = time.perf_counter(), seed, 0
    while came["exchanges"] < count:
        world = World(number)
        try:
            came["exchanges"] += world.run()
        except Exception as error:
            raise AssertionError(f"world {number}: {error!r}") from error
        came["delivered"] += world.ledger.delivered
        came["refused"] += world.ledger.refused
        came["broken"] += world.ledger.broken
        came["hedged"] += world.hedges
        number += 1
        if came["exchanges"] - reported >= 50_000:
            reported = came["exchanges"]
            report(
                f"{number - seed:,} worlds, {dict(came)}, {reported / (time.perf_counter() - began):,.0f} exchanges/s"
            )
    report(f"{number - seed:,} worlds from {seed}, every invariant held: {dict(came)}")
    return came


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    run(chosen.count, chosen.seed, lambda line: print(line, flush=True))
