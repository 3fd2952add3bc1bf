"""Random streams through TCP mode in a simulated world: what arrives is a beginning of what was sent, and what looks
like its end is its end.

    python -m tests.fuzz.streams --count 100_000 [--seed 1]

Each world is one balancer, one client and one to three backends that may be down. As for exchanges, its number is its
seed.
"""

import argparse
import random
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from ocr_tcp_lb.config import Config
from ocr_tcp_lb.relay.tcp import TcpSession

from .exchanges import MOST_TURNS, Outgoing, World
from .plans import pattern
from .simulation import Socket

SIZES = (0, 0, 5, 300, 5_000, 50_000)


class Talker:
    """One end of a stream: sends, reads, and leaves in some way."""

    def __init__(self, sock: Socket, number: int, chance: random.Random) -> None:
        self._sock = sock
        self._chance = chance
        self.stream = pattern(number, chance.choice(SIZES))
        self.leaves = chance.choice(("finish", "finish", "finish", "finish", "close", "reset", "stop"))
        self._until = len(self.stream) if chance.random() < 0.7 else chance.randint(0, len(self.stream))
        self.reads = chance.random() < 0.95
        self.sent = 0
        self.got = bytearray()
        self.ending = ""  # how the other side's half ended: `end` or `reset`
        self.has_finished = False  # whether its own half ended in order
        self._has_parted = False
        self._is_gone = False

    def __repr__(self) -> str:
        return f"<Talker {self.leaves} {self.sent}/{self._until} got={len(self.got)} {self.ending or 'open'}>"

    @property
    def is_gentle(self) -> bool:
        """Whether it says all that it has to say, ends in order and hears the other side out."""
        return self.leaves == "finish" and self.reads

    def act(self) -> bool:
        if self._is_gone:
            return False
        steps = [self._read, self._send]
        self._chance.shuffle(steps)
        return steps[0]() or steps[1]() or self._part()

    def _read(self) -> bool:
        if self.ending or not self.reads:
            return False
        try:
            data = self._sock.recv(self._chance.choice((7, 300, 65536)))
        except BlockingIOError:
            return False
        except OSError:
            self.ending = "reset"
            return True
        self.got += data
        if not data:
            self.ending = "end"
        return True

    def _send(self) -> bool:
        if self.sent >= self._until:
            return False
        end = self.sent + self._chance.randint(1, self._until - self.sent)
        try:
            self.sent += self._sock.send(self.stream[self.sent : end])
        except BlockingIOError:
            return False
        except OSError:
            self.ending = self.ending or "reset"  # told once: who reads now would find an ordinary end
            self._until = self.sent
        return True

    def _part(self) -> bool:
        if self.sent < self._until:
            return False
        if not self._has_parted:
            self._has_parted = True
            self._leave()
            return True
        if self.ending:
            self._close()
            return True
        return False

    def _leave(self) -> None:
        match self.leaves:
            case "finish":
                try:
                    self._sock.shutdown(socket.SHUT_WR)
                except OSError:
                    return
                self.has_finished = True
            case "close":
                self._close()
            case "reset":
                self._sock.reset()
                self._is_gone = True

    def _close(self) -> None:
        self.has_finished = self.has_finished or not self._sock.unread_bytes()  # else it is a reset
        self._sock.close()
        self._is_gone = True


class StreamWorld(World):
    """One client's connection."""

    client: Talker
    backend: Talker | None = None

    def _config(self) -> Config:
        return replace(super()._config(), mode="tcp")

    def _populate(self) -> None:
        ours = Socket(self._loop, self._chance, is_balancers=True)
        theirs = Socket(self._loop, self._chance)
        ours.join(theirs)
        self.client = Talker(theirs, 1, self._chance)
        self._actors.append(self.client)
        self._serve(ours, TcpSession)

    def _answer(self, caller: Outgoing, theirs: Socket) -> None:
        if not caller.is_closed:
            assert self.backend is None, "two backends for one client"
            caller.join(theirs)
            self.backend = Talker(theirs, 2, self._chance)
            self._actors.append(self.backend)

    def _check(self) -> None:
        for _ in range(1_000):  # what is on its way arrives
            if not self._everybody_acts():
                break
        super()._check()
        if self.backend is None:
            assert not self.client.got
            return
        both = self.client, self.backend
        for one, other in (both, both[::-1]):
            self._compare(one, other)
        if self._last_turn == MOST_TURNS and all(one.is_gentle for one in both):
            assert [one.ending for one in both] == ["end", "end"], f"a connection was broken for no reason: {both}"

    @staticmethod
    def _compare(one: Talker, other: Talker) -> None:
        assert other.stream[: other.sent].startswith(one.got), f"{one} got what {other} did not send"
        if one.ending == "end":
            is_whole = other.has_finished and len(one.got) == other.sent
            assert is_whole, f"{other} was cut, and to {one} it looked like an end"


def run(count: int, seed: int, report: Callable[[str], None] = lambda line: None) -> Counter[str]:
    """Simulate so many worlds; returns how often a half ended in which way."""
    came: Counter[str] = Counter()
    for number in range(seed, seed + count):
        world = StreamWorld(number)
        try:
            world.run()
        except Exception as error:
            raise AssertionError(f"world {number}: {error!r}") from error
        for one in (world.client, world.backend):
            if one is not None:
                came[one.ending] += 1
        came["unserved"] += world.backend is None
        if (number - seed + 1) % 20_000 == 0:
            report(f"{number - seed + 1:,} worlds, {dict(came)}")
    report(f"{count:,} worlds from {seed}, every invariant held: {dict(came)}")
    return came


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--count", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    run(chosen.count, chosen.seed, lambda line: print(line, flush=True))
