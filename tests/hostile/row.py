"""The columns of the table: one `Row` is one case, and says everything that is expected of it.

`rule` is where it is written. `sent` goes from the client to the balancer; `answer` is what the client gets for it: a
status, or one of the words below. `reached` is what the backend has received by then: NOTHING, or the head's lines as
the client sent them (those that the balancer adds are the test's to check) and the raw body. `reply` is what the
backend sends back, and what it does then; `body` what the client gets of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

CLOSED = "closed"  # the connection ends without a word
BROKEN = "broken"  # a reply begins, and the connection is reset inside it

NOTHING: tuple[bytes, ...] = ()
STAYS, ENDS, RESETS = "stays", "ends", "resets"

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Row:
    """One case."""

    name: str
    rule: str
    sent: bytes
    answer: int | str = 200
    reached: tuple[bytes, ...] = NOTHING  # head lines, and the raw body last
    reply: bytes = OK
    then: str = STAYS
    body: bytes = b"ok"
    limits: Mapping[str, int] = field(default_factory=dict)
    timeouts: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def head(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    """A head with a Host, unless told otherwise."""
    return b"\r\n".join([start, *([host] if host else []), *lines, b"", b""])


def post(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    """A POST with its body."""
    return head(*lines, start=b"POST / " + version) + body


def refused(name: str, rule: str, sent: bytes, status: int = 400, **more: Mapping[str, int]) -> Row:
    """The client is told; no backend hears of it."""
    return Row(name, rule, sent, status, **more)


def passed(name: str, rule: str, sent: bytes, *reached: bytes, reply: bytes = OK, body: bytes = b"ok") -> Row:
    """It is served, and the backend gets exactly these lines (the last is the raw body)."""
    return Row(name, rule, sent, 200, reached, reply, body=body)
