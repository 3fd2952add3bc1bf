"""An endless stream of hostile inputs, bred from a corpus of whole messages.

`Breeder.next` takes one of the pool, and cuts, doubles, swaps or inserts pieces of it; most stay close to the
grammar, where parsers disagree. What the caller praises (`keep`) joins the pool: inputs with an outcome that no
other had. Seeded: equal seeds and praise give equal streams.
"""

import random
from collections.abc import Iterable
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
MOST_KEPT = 4096
MOST_BYTES = 2048

# What smuggling is made of.
PIECES = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"\x0b", b"\x00", b"\x7f", b"\xff", b":", b": ", b" :", b","),
    *(b";", b"=", b'"', b"\\", b"#", b"?", b"/", b"*", b"%", b"%b", b"+", b"-", b"_", b"0", b"1", b"0x", b"A", b"a"),
    *(b"Host: a\r\n", b"Host: b\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 6\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer_Encoding: chunked\r\n"),
    *(b"Connection: close\r\n", b"Connection: keep-alive, X\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    *(b"Expect: 100-continue\r\n", b"TE: trailers\r\n", b"X-Request-Id: r\r\n", b"X-Forwarded-For: 1.2.3.4\r\n"),
    *(b" folded\r\n", b"Via: 1.1 x\r\n", b"Content-Length: 18446744073709551621\r\n", b"5, 5", b"chunked", b"identity"),
    *(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http://a/", b"GET", b"HEAD", b"OPTIONS", b"CONNECT a:1"),
    *(b"0\r\n\r\n", b"5\r\nhello\r\n", b"1;a=b\r\nx\r\n", b";a", b"ffffffffffffffff\r\n", b"X: y\r\n", b"204", b"101"),
]


def corpus(kind: str) -> list[bytes]:
    """The seeds of a kind, in a fixed order."""
    return [path.read_bytes() for path in sorted((CORPUS / kind).iterdir())]


class Breeder:
    """Breeds inputs from seeds."""

    def __init__(self, seeds: Iterable[bytes], seed: int) -> None:
        self._random = random.Random(seed)
        self._pool = list(seeds)
        self._first = len(self._pool)

    def next(self) -> bytes:
        """Another input."""
        chance = self._random.random
        data = self._pool[int(chance() * len(self._pool))]
        for _ in range(int(chance() * 4)):
            data = self._mutated(data)
        return data[:MOST_BYTES]

    def keep(self, data: bytes) -> None:
        """Breed from this one, too; the seeds themselves are never given up."""
        if len(self._pool) < MOST_KEPT:
            self._pool.append(data)
        else:
            self._pool[self._random.randrange(self._first, MOST_KEPT)] = data

    def cut(self, data: bytes) -> int:
        """A place inside the input."""
        return int(self._random.random() * (len(data) + 1))

    def _mutated(self, data: bytes) -> bytes:
        chance = self._random.random
        at = int(chance() * (len(data) + 1))
        way = chance()
        if way < 0.4:
            return data[:at] + PIECES[int(chance() * len(PIECES))] + data[at:]
        if way < 0.6:
            return data[:at] + data[at + 1 + int(chance() * 4) :]
        if way < 0.75:
            return data[:at] + bytes((int(chance() * 256),)) + data[at + 1 :]
        if way < 0.85:
            return data[:at] + PIECES[int(chance() * len(PIECES))] + data[at + 1 + int(chance() * 8) :]
        if way < 0.93:
            return self._line_moved(data)
        other = self._pool[int(chance() * len(self._pool))]
        return data[:at] + other[int(chance() * len(other)) :]

    def _line_moved(self, data: bytes) -> bytes:
        """A line doubled, or put somewhere else."""
        lines = data.split(b"\r\n")
        chance = self._random.random
        line = lines[int(chance() * len(lines))]
        lines.insert(int(chance() * len(lines)), line)
        if chance() < 0.5:
            lines.remove(line)
        return b"\r\n".join(lines)
