"""What is meant to happen in a simulated world: planned requests, and the ledger of what was meant as answers."""

import random
from collections import Counter
from dataclasses import dataclass, field

from .messages import chunked

SIZES = (0, 0, 1, 5, 60, 60, 60, 60, 300, 300, 300, 900, 900, 900, 5_000, 12_000)  # the limit is 8,000


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
