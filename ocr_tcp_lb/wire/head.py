"""Parsed heads: what one message says, and how it is written for the next hop.

Made by `RequestParser` and `ReplyParser` only, so whoever holds one holds a head that every rule accepted.
All text is `bytes` as received. `forwarded` returns one complete head, empty line included, and changes
nothing, so it can be called again for another attempt.
"""

from typing import Final, NamedTuple

from ocr_tcp_lb.wire.fields import CRLF, END
from ocr_tcp_lb.wire.framing import Framing
from ocr_tcp_lb.wire.plans import ReplyPlan, RequestPlan

CONTINUE: Final = 100  # status codes, RFC 9110 section 15
SWITCHING_PROTOCOLS: Final = 101
FIRST_FINAL: Final = 200
FIRST_REDIRECTION: Final = 300
FIRST_CLIENT_ERROR: Final = 400
FIRST_SERVER_ERROR: Final = 500

MAX_WRITTEN: Final = 64  # clients and paths for which a shared head is remembered as it was written


class Hop(NamedTuple):
    """What the balancer knows about the client's connection, for X-Forwarded-*.

    `client` is its address, `trusted` whether it may speak for others, `proto` is `http` or `https`, `host`
    stands in where HTTP/1.0 sent no Host.
    """

    client: bytes
    trusted: bool
    proto: bytes
    host: bytes


class RequestHead:
    """A request's head.

    `target` is as received; `path` and `query` (with its question mark, or empty) are its origin form.
    `request_id` is a sane X-Request-Id, else empty. `upgrade` is what an Upgrade asks for where it may be
    granted: HTTP/1.1, named by Connection, no body, and not h2c, which would hide requests from us (RFC 9110,
    7.8 lets us ignore it).
    """

    __slots__ = (
        "_cells",
        "_plan",
        "_written",
        "content_length",
        "expects_continue",
        "framing",
        "host",
        "is_idempotent",
        "keep_alive",
        "method",
        "minor",
        "path",
        "query",
        "request_id",
        "target",
        "upgrade",
    )

    def __init__(self, plan: RequestPlan, cells: list[bytes], target: bytes) -> None:
        self._plan = plan
        self._cells = cells
        self._written: dict[tuple[bytes, Hop], bytes] | None = None
        self.target = target
        self.path = target
        self.query = b""
        self.method = plan.method
        self.minor = plan.minor
        self.framing = plan.framing
        self.keep_alive = plan.keep_alive
        self.expects_continue = plan.expects_continue
        self.upgrade = plan.upgrade
        self.is_idempotent = plan.is_idempotent
        self.host = b""
        self.content_length = 0
        self.request_id = b""

    @property
    def has_wishes(self) -> bool:
        """Whether there are fields that `wishes` reads."""
        return self._plan.has_wishes

    def value(self, name: bytes) -> bytes:
        """Return the value of the field of this lower-case name, lists joined (RFC 9110, 5.3); empty if there is none.

        The name is the operator's or ours, never a client's: each is remembered.
        """
        places = self._plan.places_of(name)
        if len(places) == 1:
            return self._cells[places[0]]
        return b", ".join([self._cells[place] for place in places])

    def share(self) -> None:
        """Remember from now on what was written for whom: the head stands for many equal ones."""
        self._written = {}

    def forwarded(self, target: bytes, hop: Hop, request_id: bytes, *, expect: bool = False) -> bytes:
        """Write the head for a backend, always as HTTP/1.1; `expect` asks it to send 100 (Continue)."""
        written = self._written
        if written is None or expect:
            return self._write(target, hop, request_id, expect)
        key = (target, hop)
        start = written.get(key)
        if start is None:
            start = self._write(target, hop, b"", expect)[: -len(END)]  # the id is all that differs, and comes last
            if len(written) >= MAX_WRITTEN:
                written.clear()
            written[key] = start
        return start + request_id + END

    def _write(self, target: bytes, hop: Hop, request_id: bytes, expect: bool) -> bytes:
        plan = self._plan
        trusted, upgrading = hop.trusted, bool(self.upgrade)
        layout = plan.layouts[trusted + 2 * expect + 4 * upgrading]
        if layout is None:
            layout = plan.lay_out(trusted, expect, upgrading)
        cells = [*self._cells, target, hop.client, hop.proto, self.host or hop.host, request_id]
        return layout.format % layout.pick(cells)

    def __repr__(self) -> str:
        return f"<RequestHead {self.method!r} {self.target!r} {self.framing.value} {self.content_length}>"


class ReplyHead:
    """A reply's head; `keep_alive` says whether the backend's connection outlives it (RFC 9112, 9.3).

    `upgrade` is the protocol of a 101 (or 426). Whether a 101 was asked for is for the exchange to check. `is_dated`
    says whether a Date is passed on; who forwards a final reply without one adds it (RFC 9110, 6.6.1).
    """

    __slots__ = (
        "_cells",
        "_plan",
        "_written",
        "content_length",
        "framing",
        "is_dated",
        "keep_alive",
        "minor",
        "status",
        "upgrade",
    )

    def __init__(self, plan: ReplyPlan, cells: list[bytes], framing: Framing, keep_alive: bool) -> None:
        self._plan = plan
        self._cells = cells
        self._written: dict[int, bytes] | None = None
        self.framing = framing
        self.keep_alive = keep_alive
        self.status = plan.status
        self.minor = plan.minor
        self.upgrade = plan.upgrade
        self.is_dated = plan.is_dated
        self.content_length = 0

    @property
    def is_final(self) -> bool:
        """Whether no other reply follows to the same request (RFC 9110, 15.2); after 101 no HTTP does."""
        return self.status >= FIRST_FINAL or self.status == SWITCHING_PROTOCOLS

    def share(self) -> None:
        """Remember from now on what was written: the head stands for many equal ones."""
        self._written = {}

    def forwarded(self, *, minor: int, close: bool, extra: bytes = b"") -> bytes:
        """Write the head for a client of that minor version; for HTTP/1.0, of a body whose chunking is taken off.

        `close` announces the end of its connection; `extra` is ready field lines, each with its CRLF. An X-Request-Id
        among them replaces the backend's.
        """
        old, own_id = minor == 0, b"X-Request-Id:" in extra
        kind = old + 2 * close + 4 * own_id
        written = self._written
        start = written.get(kind) if written is not None else None
        if start is None:
            layout = self._plan.layouts[kind]
            if layout is None:
                layout = self._plan.lay_out(old, close, own_id)
            start = layout.format % layout.pick(self._cells)
            if written is not None:
                written[kind] = start
        return start + extra + CRLF

    def __repr__(self) -> str:
        return f"<ReplyHead {self.status} {self.framing.value} {self.content_length}>"
