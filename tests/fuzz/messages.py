"""Just enough HTTP to read what the balancer wrote, independently of its own parsers, and to write what it reads.

`read_request` and `read_reply` take the front of a stream and return the message and its end, or None while it is
incomplete. They assert: whoever reads the balancer's own writing may be strict.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Message:
    """A message as it was read; `is_complete` is False for a reply that runs until the end of its connection."""

    start: list[bytes]
    fields: dict[bytes, bytes]
    body: bytes
    runs_to_end: bool = False
    received: int = field(default=0)


def read_head(data: bytes | bytearray, at: int) -> tuple[list[bytes], dict[bytes, bytes], int] | None:
    """Start line, fields and where the body begins."""
    end = data.find(b"\r\n\r\n", at)
    if end < 0:
        return None
    start, *lines = bytes(data[at:end]).split(b"\r\n")
    fields = {}
    for line in lines:
        name, colon, value = line.partition(b": ")
        assert colon, line
        assert name.lower() not in fields, f"{name!r} twice"
        fields[name.lower()] = value
    return start.split(b" ", 2), fields, end + 4


def read_request(data: bytearray, at: int) -> tuple[Message, int] | None:
    """The next request."""
    head = read_head(data, at)
    if head is None:
        return None
    start, fields, at = head
    assert start[2] == b"HTTP/1.1"
    assert not (b"content-length" in fields and b"transfer-encoding" in fields)
    body = _read_body(data, at, fields)
    return None if body is None else (Message(start, fields, body[0]), body[1])


def read_reply(data: bytearray, at: int, method: bytes) -> tuple[Message, int] | None:
    """The next final reply, interim ones skipped; one that runs until the close has the body so far."""
    while (head := read_head(data, at)) is not None:
        start, fields, at = head
        assert start[0] == b"HTTP/1.1", start
        status = int(start[1])
        if status < 200:
            continue
        if method == b"HEAD" or status in (204, 304):
            return Message(start, fields, b""), at
        if b"content-length" not in fields and b"transfer-encoding" not in fields:
            return Message(start, fields, bytes(data[at:]), runs_to_end=True), len(data)
        body = _read_body(data, at, fields)
        return None if body is None else (Message(start, fields, body[0]), body[1])
    return None


def _read_body(data: bytearray, at: int, fields: dict[bytes, bytes]) -> tuple[bytes, int] | None:
    if b"transfer-encoding" in fields:
        assert fields[b"transfer-encoding"] == b"chunked"
        return read_chunks(data, at)
    end = at + int(fields.get(b"content-length", b"0"))
    return (bytes(data[at:end]), end) if len(data) >= end else None


def read_chunks(data: bytearray, at: int) -> tuple[bytes, int] | None:
    """A whole chunked body, and where it ends."""
    body = b""
    while (line_end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:line_end], 16)
        start, at = line_end + 2, line_end + 2 + size + 2
        if len(data) < at:
            return None
        assert data[at - 2 : at] == b"\r\n"
        body += data[start : start + size]
        if not size:
            return body, at
    return None


def chunked(body: bytes, size: int) -> bytes:
    """The body in chunks of that size."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
