"""The chunked coding, followed byte by byte so that its end is known: RFC 9112 section 7.1.

`ChunkedBody` consumes bytes up to and including the last one of the body, never further. It raises its side's
error for anything but the RFC's grammar: no white space around sizes, no bare LF; sizes, extensions and
trailers are bounded. A chunk's data is not looked at, so a large chunk costs the same as a small one. How the
bytes are cut into calls never changes what is found.
"""

import re
from typing import Literal

from ocr_tcp_lb.wire.errors import ProtocolError, ReplyError, RequestError
from ocr_tcp_lb.wire.fields import HOP_BY_HOP, UNREMOVABLE, claims_origin, read_field
from ocr_tcp_lb.wire.framing import MAX_LENGTH

Side = Literal["client", "backend"]

MAX_EXTENSION_BYTES = 256  # a chunk; nobody uses them, and they cost the receiver (CVE-2023-39326)
MAX_EXTENSIONS_BYTES = 16 * 1024  # a body
MAX_TRAILER_BYTES = 8 * 1024  # half of what a whole head may have by default
_MAX_SIZE_DIGITS = 16
_MAX_SIZE_LINE = _MAX_SIZE_DIGITS + MAX_EXTENSION_BYTES + 2

_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16}+)\r\n")
_NEXT_SIZE = re.compile(rb"\r\n([0-9A-Fa-f]{1,16}+)\r\n")  # the end of one chunk and the beginning of the next
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'
_SIZE_LINE = re.compile(  # 7.1.1, without its optional "bad" white space
    rb"([0-9A-Fa-f]{1,16}+)((?:;" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?+)*+)\r\n"
)

# RFC 9110, 6.5.1: fields that frame or route a message have no business after it. Of a reply, all others are the
# client's to ignore: a reset would lose it a whole body for a `Date`.
_FORBIDDEN_IN_REPLIES = HOP_BY_HOP | UNREMOVABLE | {b"trailer"}
# A service may merge trailers into what it decides on: none may modify, describe or authenticate a request. Digests
# (RFC 9530) are what trailers are for, so `content-` alone says nothing.
_FORBIDDEN_IN_REQUESTS = (
    _FORBIDDEN_IN_REPLIES
    | {b"content-disposition", b"content-encoding", b"content-language", b"content-location", b"content-range"}
    | {b"age", b"authorization", b"cache-control", b"content-type", b"cookie", b"date", b"expect", b"expires"}
    | {b"location", b"max-forwards", b"pragma", b"range", b"retry-after", b"set-cookie", b"vary", b"via", b"warning"}
    | {b"www-authenticate", b"x-request-id"}
)
_FORBIDDEN_PREFIXES = (b"if-", b"proxy-")  # in requests

_SIZE, _DATA, _GAP, _TRAILER, _DONE = range(5)


class ChunkedBody:
    """One chunked body of one side: `feed` until `done`."""

    __slots__ = (
        "_extension_bytes",
        "_left",
        "_line",
        "_side",
        "_state",
        "_trailer_bytes",
        "announced_bytes",
    )

    def __init__(self, side: Side) -> None:
        self._side = side
        self._state = _SIZE
        self._left = 0  # of the current chunk's data
        self._line = b""  # the beginning of a line that is not complete yet
        self._extension_bytes = 0
        self._trailer_bytes = 0
        self.announced_bytes = 0
        """Data bytes of all chunks whose size is known, also before they arrive."""

    @property
    def done(self) -> bool:
        """Whether the body has ended."""
        return self._state == _DONE

    @property
    def body_bytes(self) -> int:
        """Data bytes consumed so far, without the chunked framing."""
        return self.announced_bytes - self._left

    def feed(self, data: bytes | memoryview) -> int:
        """Consume the data, at most to the body's end; returns how many bytes. Raises `ProtocolError`."""
        return self._advance(data, None)

    def payload(self, data: bytes | memoryview) -> tuple[int, list[memoryview]]:
        """Do as `feed`, and also return the slices of `data` that are the body itself."""
        slices: list[memoryview] = []
        return self._advance(data, slices), slices

    def _advance(self, data: bytes | memoryview, slices: list[memoryview] | None) -> int:
        position, end = 0, len(data)
        while position < end and self._state != _DONE:
            if self._state == _DATA:
                step = min(self._left, end - position)
                if slices is not None:
                    slices.append(memoryview(data)[position : position + step])
                self._left -= step
                position += step
                if not self._left:
                    self._state = _GAP
                continue
            match = None
            if self._state != _TRAILER and not self._line:
                match = (_NEXT_SIZE if self._state == _GAP else _PLAIN_SIZE).match(data, position, end)
            if match:
                self._begin_chunk(int(match[1], 16))
                position = match.end()
            else:
                position = self._take_line(data, position, end)
        return position

    def _take_line(self, data: bytes | memoryview, position: int, end: int) -> int:
        """Move bytes into the current line; act on it once it is complete. Returns the new position."""
        room = self._room() - len(self._line)
        window = bytes(data[position : min(end, position + room)])
        cut = window.find(b"\n") + 1
        self._line += window[:cut] if cut else window
        if cut:
            line, self._line = self._line, b""
            self._end_line(line)
            return position + cut
        if len(window) == room:
            raise self._fault("a line of the chunked body is too long")
        return position + len(window)

    def _room(self) -> int:
        """Return how long the current line may be, its CRLF included."""
        if self._state == _GAP:
            return 2
        return _MAX_SIZE_LINE if self._state == _SIZE else MAX_TRAILER_BYTES - self._trailer_bytes + 2

    def _end_line(self, line: bytes) -> None:
        if self._state == _GAP:
            if line != b"\r\n":
                raise self._fault("a chunk's data is not followed by CRLF (RFC 9112, 7.1)")
            self._state = _SIZE
        elif self._state == _SIZE:
            self._read_size(line)
        else:
            self._read_trailer(line)

    def _read_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if not match:
            raise self._fault("an invalid chunk size or extension (RFC 9112, 7.1)")
        self._extension_bytes += len(match[2])
        if len(match[2]) > MAX_EXTENSION_BYTES or self._extension_bytes > MAX_EXTENSIONS_BYTES:
            raise self._fault("too many chunk extensions")
        self._begin_chunk(int(match[1], 16))

    def _begin_chunk(self, size: int) -> None:
        self.announced_bytes += size
        if self.announced_bytes > MAX_LENGTH:
            raise self._fault("chunks of more than 63 bits")
        self._left = size
        self._state = _DATA if size else _TRAILER

    def _read_trailer(self, line: bytes) -> None:
        """Check one trailer field, or see the empty line that ends the body (RFC 9112, 7.1.2)."""
        if line == b"\r\n":
            self._state = _DONE
            return
        self._trailer_bytes += len(line)
        if self._trailer_bytes > MAX_TRAILER_BYTES:
            raise self._fault("the trailers are too large")
        if not line.endswith(b"\r\n"):
            raise self._fault("a bare LF in the trailers")
        name, _ = read_field(line[:-2], self._fault)
        if self._is_forbidden(name.lower().replace(b"_", b"-")):
            raise self._fault("a field in the trailers that may not be there (RFC 9110, 6.5.1)")

    def _is_forbidden(self, name: bytes) -> bool:
        if self._side == "backend":
            return name in _FORBIDDEN_IN_REPLIES
        return name in _FORBIDDEN_IN_REQUESTS or name.startswith(_FORBIDDEN_PREFIXES) or claims_origin(name)

    def _fault(self, message: str) -> ProtocolError:
        if self._side == "client":
            return RequestError(400, "bad_chunk", message)
        return ReplyError(f"the backend sent a bad body: {message}")
