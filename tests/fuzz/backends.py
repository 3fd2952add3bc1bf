"""Backends that do anything that backends do; what they are asked is compared with what was meant, at once.

`act` does one thing if it can. A byte out of place is a failed assertion.
"""

import random

from .messages import Message, chunked, read_request
from .plans import SIZES, Ledger, Planned, pattern
from .simulation import Loop, Socket

NONSENSE = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nevil",
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nevil",
    b"HTTP/1.1 200 OK\nContent-Length: 4\n\nevil",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: evil\r\n\r\nevil",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"HTTP/1.1 102 Processing\r\n\r\n" * 40,
)
POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


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
        if chance.random() < 0.12:
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
