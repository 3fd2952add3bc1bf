"""The bytes of requests, as clients send them; the same in every run."""

import base64
import functools
import hashlib
import random
import struct

KIB, MIB = 1024, 1024 * 1024
REPLY_BYTES = 1 * KIB
CHUNK_BYTES = 64 * KIB

# Clients ask for the first path; the services answer on the second only, and only with X-Forwarded-For present.
# The third is served as it comes, for balancers of connections, which change nothing.
ASKED, SERVED, PLAIN = "/", "/get_ocr", "/plain"


def head(method: str, target: str, *fields: str) -> bytes:
    """A request's head."""
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: ocr.example:4999", *fields, "", "")).encode()


@functools.cache
def body(size: int) -> bytes:
    """Incompressible bytes, the same in every run."""
    return random.Random(size).randbytes(size)


@functools.cache
def get(target: str, *fields: str) -> bytes:
    """A GET with the fields that `requests` sends."""
    return head("GET", target, "User-Agent: bench/1", "Accept-Encoding: gzip, deflate", "Accept: */*", *fields)


@functools.cache
def upload(size: int) -> bytes:
    """A POST of `size` bytes with Content-Length."""
    fields = ("User-Agent: bench/1", "Accept: */*", "Content-Type: image/png", f"Content-Length: {size}")
    return head("POST", ASKED, *fields) + body(size)


@functools.cache
def chunked_upload(size: int) -> bytes:
    """The same in chunks of 64 KiB."""
    pieces = (body(size)[start : start + CHUNK_BYTES] for start in range(0, size, CHUNK_BYTES))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return head("POST", ASKED, "Content-Type: image/png", "Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n"


@functools.cache
def multipart(size: int) -> bytes:
    """A form of `size` bytes in all with one file, as `requests` and browsers send it."""
    opening = b'--form\r\nContent-Disposition: form-data; name="file"; filename="scan.png"\r\n\r\n'
    closing = b"\r\n--form--\r\n"
    form = opening + body(size - len(opening) - len(closing)) + closing
    fields = ("Content-Type: multipart/form-data; boundary=form", f"Content-Length: {size}")
    return head("POST", ASKED, "User-Agent: bench/1", *fields) + form


def varied_post(number: int) -> bytes:
    """A POST of 1 KB whose query and five field values occur in no other request."""
    rng = random.Random(number)
    fields = (
        f"User-Agent: scanner/{number}.{rng.randrange(100)}",
        f"Authorization: Bearer {rng.getrandbits(256):064x}",
        f"X-Request-Id: {rng.getrandbits(128):032x}",
        f"Cookie: session={rng.getrandbits(128):x}; page={number}",
        f"Referer: http://archive.example/box/{rng.randrange(10**6)}/page/{number}",
        "Content-Type: application/json",
        f"Content-Length: {KIB}",
    )
    return head("POST", f"{ASKED}?page={number}&language=deu", *fields) + body(KIB)


@functools.cache
def message(size: int) -> bytes:
    """A client's WebSocket message in one frame (RFC 6455, 5.2), masked with zeros, which the service need not undo."""
    return b"\x82\xfe" + struct.pack("!H", size) + bytes(4) + body(size)


@functools.cache
def echo(size: int) -> bytes:
    """The same message as the service sends it back: without a mask."""
    return b"\x82\x7e" + struct.pack("!H", size) + body(size)


def direct(request: bytes) -> bytes:
    """The request as a balancer would pass it on: to the service's own path, with X-Forwarded-For."""
    first, _, rest = request.partition(b"\r\n")
    first = first.replace(f" {ASKED}".encode(), f" {SERVED}".encode(), 1)
    return b"%b\r\nX-Forwarded-For: 127.0.0.1\r\n%b" % (first, rest)


_KEY = b"YmVuY2gtYmVuY2gtYmVuYw=="
_ACCEPT = base64.b64encode(hashlib.sha1(_KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # RFC 6455, 4.2.2
UPGRADE = head(
    "GET",
    ASKED,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {_KEY.decode()}",
)
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: %b\r\n\r\n" % _ACCEPT
)
