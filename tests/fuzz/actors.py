"""The two sides of a simulated exchange: clients and backends that do anything that clients and backends do.

Each has `act`, which does one thing if it can. What they meant to say is kept in the `Ledger`, and what they see is
compared with it at once: a byte out of place is a failed assertion.
"""

import random
import socket
from collections import Counter
from dataclasses import dataclass, field

from .messages import Message, chunked, read_reply, read_request
from .simulation import Loop, Socket

SIZES = (0, 0, 1, 5, 60, 60, 60, 60, 300, 300, 300, 900, 900, 900, 5_000, 12_000)  # the limit is 8,000
REFUSED = (  # each is refused for certain, wherever it is cut; the request behind it must never be seen
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n x: y\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"CONNECT evil:80 HTTP/1.1\r\nHost: evil:80\r\n\r\n",
)
EVIL = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
NONSENSE = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nevil",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nevil",
    b"HTTP/1.1 200 OK\nContent-Length: 4\n\nevil",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: evil\r\n\r\nevil",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"HTTP/1.1 102 Processing\r\n\r\n" * 40,
)
POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


@dataclass(slots=True)
class Planned:
    """A request that a client means to send."""

    number: int
    method: bytes
    minor: int
    body: bytes
    data: bytes  # as sent

    @property
    def is_idempotent(self) -> bool:
        return self.method != b"POST"


@dataclass(slots=True)
class Ledger:
    """What was meant: requests by number, and the bodies with which backends answered them."""

    requests: dict[int, Planned] = field(default_factory=dict)
    replies: dict[int, list[bytes]] = field(default_factory=dict)
    arrivals: Counter[int] = field(default_factory=Counter)
    delivered: int = 0
    refused: int = 0
    broken: int = 0


def pattern(number: int, size: int) -> bytes:
    """A body that tells whose it is, and where a byte of it belongs."""
    return (b"%d:" % number + b"0123456789abcdefghijklmnop" * (size // 26 + 1))[:size]


def plan(number: int, chance: random.Random) -> Planned:
    """Some request."""
    method = chance.choice((b"GET", b"POST", b"POST", b"PUT", b"HEAD"))
    minor = 0 if chance.random() < 0.1 else 1
    body = pattern(number, chance.choice(SIZES)) if method in (b"POST", b"PUT") else b""
    lines = [b"%b /r%d HTTP/1.%d" % (method, number, minor), b"Host: a"]
    if minor == 0 and chance.random() < 0.7:
        lines.append(b"Connection: keep-alive")
    if chance.random() < 0.05:
        lines.append(b"Connection: close")
    if body and chance.random() < 0.2:
        lines.append(b"Expect: 100-continue")
    if minor and body and chance.random() < 0.4:
        lines.append(b"Transfer-Encoding: chunked")
        sent = chunked(body, chance.choice((1, 7, 4096)) if len(body) < 500 else 1500)
    elif body or chance.random() < 0.2:
        lines.append(b"Content-Length: %d" % len(body))
        sent = body
    else:
        sent = b""
    return Planned(number, method, minor, body, b"\r\n".join([*lines, b"", sent]))


class Client:
    """Sends its requests, all at once or one by one, reads the answers, and may break off anywhere."""

    def __init__(self, sock: Socket, requests: list[Planned], ledger: Ledger, chance: random.Random) -> None:
        self._sock = sock
        self._chance = chance
        self._ledger = ledger
        self._expected = requests
        self._ends_evil = chance.random() < 0.15
        stream = b"".join(one.data for one in requests)
        self._is_pipelining = self._ends_evil or chance.random() < 0.5
        self._stream = stream + (chance.choice(REFUSED) + EVIL if self._ends_evil else b"")
        self._sent = 0
        self._until = len(self._stream)
        self._leaves = "" if chance.random() < 0.6 else chance.choice(("close", "reset", "finish", "stop"))
        if self._leaves:
            self._until = chance.randint(0, len(self._stream))
        self._never_reads = chance.random() < 0.05
        self._got = bytearray()
        self._at = 0
        self._answers = 0
        self._has_left = False
        self._is_refused = False  # the balancer said its last word
        self.is_done = False

    def act(self) -> bool:
        """Do one thing; False if there is nothing to do."""
        if self.is_done:
            return False
        return self._read() or self._send()

    def _limit(self) -> int:
        if self._is_pipelining:
            return self._until
        may_be_sent = sum(len(one.data) for one in self._expected[: self._answers + 1])
        return min(self._until, may_be_sent)

    def _send(self) -> bool:
        limit = self._limit()
        if self._sent < limit:
            size = limit - self._sent
            if self._chance.random() < 0.5:
                size = self._chance.randint(1, size)
            try:
                self._sent += self._sock.send(self._stream[self._sent : self._sent + size])
            except BlockingIOError:
                return False
            except OSError:
                self._sent = self._until = limit
            return True
        if self._leaves and self._sent >= self._until and not self._has_left:
            self._has_left = True
            if self._leaves == "finish":
                try:
                    self._sock.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
            elif self._leaves in ("close", "reset"):
                self._sock.reset() if self._leaves == "reset" else self._sock.close()
                self.is_done = True
            return True
        return False

    def _read(self) -> bool:
        if self._never_reads:
            return False
        try:
            data = self._sock.recv(self._chance.choice((7, 300, 65536, 65536)))
        except BlockingIOError:
            return False
        except OSError:
            self._end("reset")
            return True
        if not data:
            self._end("end")
            return True
        self._got += data
        self._take_replies()
        return True

    def _take_replies(self) -> None:
        while self._answers < len(self._expected) and not self._is_refused:
            request = self._expected[self._answers]
            found = read_reply(self._got, self._at, request.method)
            if found is None or found[0].runs_to_end:
                return
            reply, self._at = found
            self._answers += 1
            self._judge(request, reply)
            if b"x-from" not in reply.fields and reply.fields.get(b"connection") == b"close":
                self._is_refused = True
                if request.method == b"HEAD":  # it cannot know that before it has the whole head
                    self._at += int(reply.fields[b"content-length"]) * (reply.start[1] in (b"400", b"408"))
                return
        if not self._leaves and not self._ends_evil:
            self._sock.close()
            self.is_done = True

    def _judge(self, request: Planned, reply: Message) -> None:
        """A whole reply must be one that a backend gave to this very request, or the balancer's own refusal."""
        if b"x-from" not in reply.fields:
            assert int(reply.start[1]) in (400, 408, 413, 502, 503, 504), reply
            self._ledger.refused += 1
            return
        assert reply.fields[b"x-from"] == b"%d" % request.number, f"{reply} is no answer to {request}"
        meant = self._ledger.replies[request.number]
        assert request.method == b"HEAD" or reply.body in meant, f"{reply.body[:99]!r} was meant to be {meant!r:.300}"
        self._ledger.delivered += 1

    def _end(self, how: str) -> None:
        """The balancer ended the connection: what is left over must be visibly broken."""
        self.is_done = True
        self._sock.close()
        if self._at >= len(self._got):
            return
        assert not self._is_refused, f"words after the last: {bytes(self._got[self._at :])!r}"
        if self._answers == len(self._expected):
            found = read_reply(self._got, self._at, b"GET")
            assert self._ends_evil, f"an answer that nobody asked for: {bytes(self._got[self._at :])!r}"
            if found is not None:
                assert int(found[0].start[1]) in (400, 405, 408, 501), found
            return
        request = self._expected[self._answers]
        found = read_reply(self._got, self._at, request.method)
        if found is not None and found[0].runs_to_end and how == "end":
            self._judge(request, found[0])
        else:
            self._ledger.broken += 1

    def give_up(self) -> None:
        """Whatever it waits for, it leaves."""
        self._sock.close()
        self.is_done = True


class Backend:
    """One connection of a backend: reads requests, answers them in some way, and may break off anywhere."""

    def __init__(self, sock: Socket, ledger: Ledger, chance: random.Random, loop: Loop) -> None:
        self._sock = sock
        self._ledger = ledger
        self._chance = chance
        self._loop = loop
        self._got = bytearray()
        self._outgoing = b""
        self._poison = b""
        self._then = ""  # what it does once all is sent: "close", "reset"
        self._is_silent_until = 0.0
        self._has_answered = False
        self._has_given_up = False  # it answered before it had the whole request, and reads no more of them
        self._mood = chance.random()
        self.is_done = False

    def act(self) -> bool:
        """Do one thing; False if there is nothing to do."""
        if self.is_done or self._loop.now < self._is_silent_until:
            return False
        return self._send() or self._read() or self._speak_out_of_turn()

    def _speak_out_of_turn(self) -> bool:
        """Say something while no request is there: nobody may take it for an answer."""
        is_idle = self._has_answered and not (self._got or self._outgoing or self._then)
        if is_idle and self._mood > 0.8 and self._chance.random() < 0.1:
            self._sock.push(POISON)
            self._has_answered = False
            return True
        return False

    def _send(self) -> bool:
        if self._outgoing:
            try:
                sent = self._sock.send(self._outgoing)
            except BlockingIOError:
                return False
            except OSError:
                self._leave("close")
                return True
            self._outgoing = self._outgoing[sent:]
            return True
        if self._poison:
            self._sock.push(self._poison)
            self._poison = b""
            return True
        if self._then:
            self._leave(self._then)
            return True
        return False

    def _leave(self, how: str) -> None:
        self._sock.reset() if how == "reset" else self._sock.close()
        self.is_done = True

    def _read(self) -> bool:
        if self._mood > 0.97 and self._chance.random() < 0.2:
            self._leave("reset")
            return True
        try:
            data = self._sock.recv(self._chance.choice((100, 3000, 65536, 65536)))
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._check_rest()
            self._leave("close")
            return True
        self._got += data
        if self._has_given_up:
            return True
        found = read_request(self._got, 0)
        if found is not None:
            request, end = found
            del self._got[:end]
            assert not self._got, "a second request behind the first"
            self._answer(self._recognize(request))
        elif self._mood < 0.05 and b"\r\n\r\n" in self._got:
            self._reply_early()
        return True

    def _recognize(self, request: Message) -> Planned:
        """It must be one that was planned, byte for byte, and no second time if that might do harm."""
        number = int(request.start[1].removeprefix(b"/r"))
        planned = self._ledger.requests[number]
        assert (request.start[0], request.body) == (planned.method, planned.body), f"{request} was meant as {planned}"
        self._ledger.arrivals[number] += 1
        assert planned.is_idempotent or self._ledger.arrivals[number] == 1, f"{planned} ran twice"
        return planned

    def _check_rest(self) -> None:
        """What broke off must be the beginning of a request that was meant."""
        if b"\r\n" in self._got:
            words = self._got.split(b" ", 2)
            assert int(words[1].removeprefix(b"/r")) in self._ledger.requests, bytes(self._got)

    def _reply_early(self) -> None:
        self._has_given_up = True
        number = int(self._got.split(b" ", 2)[1].removeprefix(b"/r"))
        self._answer(self._ledger.requests[number])
        self._then = self._then or "close"

    def _answer(self, request: Planned) -> None:
        chance = self._chance
        self._has_answered = True
        if chance.random() < 0.06:
            self._is_silent_until = self._loop.now + chance.choice((0.1, 1.0, 30.0))
        if chance.random() < 0.05:
            self._outgoing, self._then = chance.choice(NONSENSE), "close"
            return
        data = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * chance.choice((0, 0, 0, 1, 3))
        reply, self._then = self._reply(request)
        runs_to_end = self._then == "close" and b"Content-Length" not in reply and b"chunked" not in reply
        if chance.random() < 0.12:
            reply = reply[: chance.randint(0, len(reply))]
            self._then = chance.choice(("close", "reset"))
            if runs_to_end:  # the one framing whose end cannot be told from a break
                self._ledger.replies[request.number].append(reply.partition(b"\r\n\r\n")[2])
        elif chance.random() < 0.05 and not runs_to_end:
            self._poison, reply = reply[-1:] + POISON, reply[:-1]
        self._outgoing = data + reply

    def _reply(self, request: Planned) -> tuple[bytes, str]:
        """A reply, and what its framing makes of the connection."""
        chance = self._chance
        body = pattern(request.number, chance.choice(SIZES)) if chance.random() < 0.9 else b""
        start = [b"HTTP/1.1 %d X" % chance.choice((200, 200, 200, 404, 500)), b"X-From: %d" % request.number]
        meant = self._ledger.replies.setdefault(request.number, [])
        then = "close" if chance.random() < 0.2 else ""
        if then and chance.random() < 0.5:
            start.append(b"Connection: close")
        kind = chance.random()
        if request.method == b"HEAD":
            return b"\r\n".join([*start, b"Content-Length: %d" % len(body), b"", b""]), then
        if kind < 0.1:
            meant.append(b"")
            return b"\r\n".join([b"HTTP/1.1 204 X", *start[1:], b"", b""]), then
        meant.append(body)
        if kind < 0.5:
            return b"\r\n".join([*start, b"Content-Length: %d" % len(body), b"", body]), then
        if kind < 0.85:
            coded = chunked(body, chance.choice((1, 9, 900)) if len(body) < 500 else 2000)
            return b"\r\n".join([*start, b"Transfer-Encoding: chunked", b"", coded]), then
        return b"\r\n".join([*start, b"", body]), "close"
