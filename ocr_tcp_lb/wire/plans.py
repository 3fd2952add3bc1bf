"""What is decided once for all heads of one shape with equal control fields, forwarding included.

A plan knows the framing and the persistence of such heads and how to write one for the next hop: a `Layout`
is a %-format and the cells that fill it. Layouts are made when first needed, one for each combination of what
the exchange may want. Which fields pass is RFC 9110 section 7.6: end-to-end fields in their order and
spelling, none that is about one connection only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ocr_tcp_lb.wire.fields import CRLF, HOP_BY_HOP, UNREMOVABLE, claims_origin, impersonates
from ocr_tcp_lb.wire.framing import Framing
from ocr_tcp_lb.wire.shapes import Pick, picker, positions

# What `RequestHead.forwarded` appends to the cells, counted from the end.
TARGET, CLIENT, PROTO, HOST, REQUEST_ID = range(-5, 0)

WISHES = frozenset({b"x-priority", b"x-request-deadline-ms", b"prefer"})  # what `wishes` reads


class Layout(NamedTuple):
    """A head to be: `format % pick(cells)`; a reply's lacks what the balancer adds, and the empty line."""

    format: bytes
    pick: Pick


class _Lines:
    """Collects lines and the cells that they need."""

    def __init__(self, start: bytes, *cells: int) -> None:
        self._parts = [start]
        self._cells = [*cells]

    def literal(self, line: bytes) -> None:
        self._parts.append(line.replace(b"%", b"%%") + b"\r\n")

    def field(self, name: bytes, *cells: int, more: bytes = b"") -> None:
        values = b", ".join([b"%b"] * len(cells)) + more
        self._parts.append(name.replace(b"%", b"%%") + b": " + values + b"\r\n")
        self._cells += cells

    def layout(self, end: bytes = b"") -> Layout:
        """What was collected; without a cell of its own, the format takes the picker's and shows none of it."""
        return Layout(b"".join(self._parts) + end + (b"" if self._cells else b"%.0b"), picker(self._cells))


def _passes(lower_name: bytes, nominated: frozenset[bytes]) -> bool:
    """Whether a field is end-to-end (RFC 9110, 7.6.1)."""
    if lower_name in UNREMOVABLE:
        return True
    return not (lower_name in HOP_BY_HOP or lower_name in nominated or impersonates(lower_name))


def _last(names: Sequence[bytes], wanted: bytes) -> int:
    """Return the index of the last field of that name, or the number of fields if there is none."""
    found = [index for index, name in enumerate(names) if name == wanted]
    return found[-1] if found else len(names)


@dataclass(slots=True)
class RequestPlan:
    """Requests of one shape with equal Connection, Transfer-Encoding, Expect and Upgrade fields (and Max-Forwards)."""

    method: bytes
    minor: int
    names: tuple[bytes, ...]
    nominated: frozenset[bytes]  # what Connection names, lower case
    framing: Framing
    keep_alive: bool
    expects_continue: bool
    upgrade: bytes
    is_idempotent: bool
    hops_left: bytes = b""  # what Max-Forwards becomes; empty: it passes as it came
    has_wishes: bool = field(init=False)
    places: dict[bytes, list[int]] = field(default_factory=dict)  # the cells of fields that were asked for by name
    layouts: list[Layout | None] = field(default_factory=lambda: [None] * 8)

    def __post_init__(self) -> None:
        self.has_wishes = any(name.lower() in WISHES for name in self.names)

    def places_of(self, name: bytes) -> list[int]:
        """Return, and remember, the cells that hold the values of the fields of this lower-case name."""
        places = self.places.get(name)
        if places is None:
            places = self.places[name] = positions(self.names, name)
        return places

    def lay_out(self, trusted: bool, expect: bool, upgrading: bool) -> Layout:
        """Make and keep the layout for an exchange of this kind."""
        layout = self._request_layout(trusted, expect, upgrading)
        self.layouts[trusted + 2 * expect + 4 * upgrading] = layout
        return layout

    def _request_layout(self, trusted: bool, expect: bool, upgrading: bool) -> Layout:
        lines = _Lines(self.method.replace(b"%", b"%%") + b" %b HTTP/1.1\r\n", TARGET)
        lower = [name.lower() for name in self.names]
        if b"host" not in lower:  # HTTP/1.0 need not send one, HTTP/1.1 must (RFC 9112, 3.2)
            lines.field(b"Host", HOST)
        self._pass_on(lines, lower, trusted)
        if expect:
            lines.literal(b"Expect: 100-continue")
        if upgrading:
            lines.literal(b"Connection: Upgrade")
            lines.literal(b"Upgrade: " + self.upgrade)
        if b"via" not in lower:
            lines.literal(b"Via: 1.%d ocr_tcp_lb" % self.minor)
        for name, cell in (
            (b"X-Forwarded-For", CLIENT),
            (b"X-Forwarded-Proto", PROTO),
            (b"X-Forwarded-Host", HOST),
        ):
            if not (trusted and name.lower() in lower):
                lines.field(name, cell)
        lines.field(b"X-Request-Id", REQUEST_ID)
        return lines.layout(CRLF)

    def _pass_on(self, lines: _Lines, lower: list[bytes], trusted: bool) -> None:
        """Write the client's own fields that pass, extending the lists that each hop extends."""
        ours = {b"expect", b"x-request-id"}
        last_for, last_via = _last(lower, b"x-forwarded-for"), _last(lower, b"via")
        # These survive a Connection that names them: they are about the path, and we write them anyway.
        nominated = self.nominated - {b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
        for index, (name, low) in enumerate(zip(self.names, lower, strict=True)):
            cell = 2 * index + 1
            if low in ours or not _passes(low, nominated) or (claims_origin(low) and not trusted):
                continue
            if low == b"transfer-encoding":
                lines.literal(b"Transfer-Encoding: chunked")  # in the one spelling that everybody reads alike
            elif low == b"max-forwards" and self.hops_left:
                lines.literal(name + b": " + self.hops_left)
            elif index == last_via:  # RFC 9110, 7.6.3
                lines.field(name, cell, more=b", 1.%d ocr_tcp_lb" % self.minor)
            elif index == last_for:
                lines.field(name, cell, CLIENT)
            else:
                lines.field(name, cell)


@dataclass(slots=True)
class ReplyPlan:
    """Replies of one shape with equal Connection, Transfer-Encoding and Upgrade fields.

    `framing` and `keep_alive` are for any method but HEAD, whose replies have no body and so never run to the
    end of the connection: `keep_alive_head`.
    """

    status: int
    minor: int
    reason: bytes
    names: tuple[bytes, ...]
    nominated: frozenset[bytes]
    framing: Framing
    keep_alive: bool
    keep_alive_head: bool
    upgrade: bytes
    is_dated: bool = field(init=False)
    layouts: list[Layout | None] = field(default_factory=lambda: [None] * 8)

    def __post_init__(self) -> None:
        self.is_dated = _passes(b"date", self.nominated) and any(name.lower() == b"date" for name in self.names)

    def lay_out(self, old: bool, close: bool, own_id: bool) -> Layout:
        """Make and keep the layout; `old`: an HTTP/1.0 client, `own_id`: drop the backend's X-Request-Id."""
        layout = self._reply_layout(old, close, own_id)
        self.layouts[old + 2 * close + 4 * own_id] = layout
        return layout

    def _reply_layout(self, old: bool, close: bool, own_id: bool) -> Layout:
        lines = _Lines(b"HTTP/1.1 %d " % self.status)
        lines.literal(self.reason)
        dropped = set()
        if own_id:
            dropped.add(b"x-request-id")
        if old:  # RFC 9112, 6.1: such a client knows no transfer coding, not even where no body follows
            dropped |= {b"transfer-encoding", b"trailer"}
        if self.status < 200 or self.status == 204:  # RFC 9112, 6.1 and RFC 9110, 8.6: neither may be there
            dropped |= {b"transfer-encoding", b"content-length"}
        for index, name in enumerate(self.names):
            low = name.lower()
            if low == b"transfer-encoding" and low not in dropped:
                lines.literal(b"Transfer-Encoding: chunked")
            elif low not in dropped and _passes(low, self.nominated):
                lines.field(name, 2 * index + 1)
        self._persistence(lines, old, close)
        return lines.layout()

    def _persistence(self, lines: _Lines, old: bool, close: bool) -> None:
        if self.upgrade:  # 101, and 426, which must say to what (RFC 9110, 15.5.22)
            lines.literal(b"Connection: Upgrade")
            lines.literal(b"Upgrade: " + self.upgrade)
        if self.status < 200:
            return
        if close:
            lines.literal(b"Connection: close")
        elif old:  # RFC 9112, 9.3: HTTP/1.0 persists only if told
            lines.literal(b"Connection: keep-alive")
