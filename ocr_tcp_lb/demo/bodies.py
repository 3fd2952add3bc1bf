"""A request's whole body, read from a blocking stream by its framing (RFC 9112 section 6.3), bounded.

`read_body` returns the body's bytes, or raises `BodyError`, after which the connection cannot be used for
another request.
"""

import re
from email.message import Message
from typing import BinaryIO

from ocr_tcp_lb.errors import LoadBalancerError

LIMIT_BYTES = 64 * 1024 * 1024  # the balancer's own default for --body-limit
_LINE_BYTES = 4096
_TRAILERS = 100


class BodyError(LoadBalancerError):
    """The body cannot be read; `status` is what to answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def declared_length(fields: Message) -> int:
    """Return the body's length by its fields, 0 for chunked; raise `BodyError` if it is wrong or too long."""
    lengths = fields.get_all("Content-Length", [])
    if "Transfer-Encoding" in fields:
        if lengths or fields.get_all("Transfer-Encoding", []) != ["chunked"]:
            raise BodyError(400, "the only transfer coding taken is chunked, without Content-Length")
        return 0
    if not lengths:
        return 0
    if len(lengths) > 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
        raise BodyError(400, "Content-Length must be one number")
    return _bounded(int(lengths[0]))


def read_body(fields: Message, stream: BinaryIO) -> bytes:
    """Return the body that follows a head with `fields` on `stream`."""
    length = declared_length(fields)
    if "Transfer-Encoding" in fields:
        return _read_chunked(stream)
    return _read_exactly(stream, length)


def _bounded(size: int) -> int:
    if size > LIMIT_BYTES:
        raise BodyError(413, f"the body is larger than {LIMIT_BYTES} bytes")
    return size


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise BodyError(400, "the body ends early")
    return data


def _read_chunked(stream: BinaryIO) -> bytes:
    """RFC 9112 section 7.1; extensions and trailers are skipped."""
    body = bytearray()
    while True:
        match = re.fullmatch(rb"([0-9A-Fa-f]{1,8})[\t ]*(?:;.*)?\r\n", stream.readline(_LINE_BYTES))
        if not match:
            raise BodyError(400, "a chunk has no size")
        size = int(match[1], 16)
        if size == 0:
            break
        _bounded(len(body) + size)
        body += _read_exactly(stream, size)
        if stream.read(2) != b"\r\n":
            raise BodyError(400, "a chunk is longer than it says")
    for _ in range(_TRAILERS):
        if stream.readline(_LINE_BYTES) == b"\r\n":
            return bytes(body)
    raise BodyError(400, "the trailers have no end")
