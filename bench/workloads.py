"""The registry of workloads: what clients send, over how many connections, and what must come back.

A workload is a value. `request(n)` gives the n-th request as the bytes of the wire; the load generator sends it
and checks that the reply is a 200 of `reply_bytes`, and that the service says it received `body_bytes`. To add a
workload, add one to `WORKLOADS`.
"""

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass

KIB, MIB = 1024, 1024 * 1024
REPLY_BYTES = 1 * KIB
CHUNK_BYTES = 64 * KIB

# Clients ask for the first path; the services answer on the second only, and only with X-Forwarded-For present.
# The third is served as it comes, for balancers of connections, which change nothing.
ASKED, SERVED, PLAIN = "/", "/get_ocr", "/plain"


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of traffic. `requests` is the number a turn, for peers that are not slow."""

    name: str
    about: str
    requests: int
    connections: int
    request: Callable[[int], bytes]
    body_bytes: int = 0
    reply_bytes: int = REPLY_BYTES
    reconnects: bool = False  # a new connection for every request
    mode: str = "http"
    options: tuple[str, ...] = ()  # for ocr_tcp_lb alone


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


WORKLOADS = (
    Workload("get-1k", "1 KB GET, keep-alive", 10_000, 64, lambda n: get(ASKED)),
    Workload("post-1k-varied", "1 KB POST, every head different", 8_000, 64, varied_post, KIB),
    Workload(
        "connect-1k",
        "1 KB GET, a connection for each",
        3_000,
        32,
        lambda n: get(ASKED, "Connection: close"),
        reconnects=True,
    ),
    Workload("multipart-300k", "300 KB multipart form", 1_500, 16, lambda n: multipart(300 * KIB), 300 * KIB),
    Workload("upload-4m", "4 MB upload", 200, 8, lambda n: upload(4 * MIB), 4 * MIB),
    Workload(
        "upload-4m-streamed",
        "4 MB upload, ours with --request-buffer 0",
        200,
        8,
        lambda n: upload(4 * MIB),
        4 * MIB,
        options=("--request-buffer", "0"),
    ),
    Workload("chunked-4m", "4 MB upload in 64 KB chunks", 150, 8, lambda n: chunked_upload(4 * MIB), 4 * MIB),
    Workload(
        "download-4m",
        "4 MB download",
        200,
        8,
        lambda n: get(f"{ASKED}?bytes={4 * MIB}"),
        reply_bytes=4 * MIB,
    ),
    Workload("l4-1k", "1 KB GET, keep-alive, connections balanced", 10_000, 64, lambda n: get(PLAIN), mode="tcp"),
)
BY_NAME = {workload.name: workload for workload in WORKLOADS}
