"""Clients that do anything that clients do; what they get is compared with what was meant, at once.

`act` does one thing if it can. A byte out of place is a failed assertion.
"""

import random
import socket

from .messages import Message, read_reply
from .plans import Ledger, Planned
from .simulation import Socket

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
