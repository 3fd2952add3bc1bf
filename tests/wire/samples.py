"""Heads that the tests share."""

from ocr_tcp_lb.wire import Hop

HOP = Hop(client=b"192.0.2.7", trusted=False, proto=b"http", host=b"front:4999")
TRUSTED = HOP._replace(trusted=True)


def request(*lines: bytes, start: bytes = b"POST /get_ocr HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    """A request head with these field lines, and a Host unless told otherwise."""
    return b"\r\n".join([start, *([host] if host else []), *lines, b"", b""])


def reply(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """A reply head with these field lines."""
    return b"\r\n".join([start, *lines, b"", b""])


def fields(head: bytes) -> list[bytes]:
    """The field lines of a head, in order."""
    return head.removesuffix(b"\r\n\r\n").split(b"\r\n")[1:]
