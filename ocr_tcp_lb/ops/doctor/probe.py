"""One HTTP request to a service, and everything that its answer tells, bounded in time and size.

The answer is read as the balancer reads it, so what the balancer would refuse is refused here. Raises Unreachable,
which says in a word why.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ocr_tcp_lb.config import MIB, BackendConfig, Limits
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.relay.answer import MOST_INTERIM_REPLIES
from ocr_tcp_lb.relay.introduction import header_for_check
from ocr_tcp_lb.wire import proxy_protocol
from ocr_tcp_lb.wire.boundary import reply_head_end
from ocr_tcp_lb.wire.chunked import ChunkedBody
from ocr_tcp_lb.wire.errors import ReplyError
from ocr_tcp_lb.wire.fields import split_head
from ocr_tcp_lb.wire.framing import Framing
from ocr_tcp_lb.wire.head import SWITCHING_PROTOCOLS, ReplyHead
from ocr_tcp_lb.wire.proxy_protocol import Endpoint
from ocr_tcp_lb.wire.responses import ReplyParser

CONNECT_S = 3.0
MOST_BODY_BYTES = 64 * MIB
READ_BYTES = 64 * 1024
TLS_ALERT = b"\x15\x03"  # RFC 8446, section 5.1: what a TLS server answers to plain text

Why = Literal["refused", "timeout", "no_such_host", "tls", "not_http", "bad_reply", "closed", "silent", "other"]


class Unreachable(LoadBalancerError):
    """There was no HTTP answer; `why` says what there was instead."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.why = why


@dataclass(frozen=True, slots=True)
class Question:
    """What to send, and to whom."""

    backend: BackendConfig
    path: str = "/"
    method: str = "GET"
    fields: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    limits: Limits = field(default_factory=Limits)  # what the answer's head may have
    is_check: bool = False  # nobody's request: a PROXY protocol header then tells of no client, as in checks

    @property
    def address(self) -> str:
        """Host and port, as they are written."""
        return str(self.backend.address)

    @property
    def message(self) -> bytes:
        """The request."""
        fields = {"Host": self.address, "User-Agent": "ocr-tcp-lb-doctor", **self.fields}
        if self.body or self.method == "POST":
            fields["Content-Length"] = str(len(self.body))
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        return "\r\n".join(lines).encode("ascii") + self.body


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    version: str  # "1.1" or "1.0"
    fields: Mapping[str, str]  # by their names in small letters
    connect_s: float
    total_s: float  # from the connection on
    keeps_alive: bool


async def ask(question: Question, timeout_s: float) -> Answer:
    """Ask on a connection of its own, and see whether the service would take another request on it."""
    began = time.monotonic()
    async with connected(question) as sock:
        connect_s = time.monotonic() - began
        try:
            async with asyncio.timeout(timeout_s):
                return await _exchange(question, sock, connect_s)
        except TimeoutError as error:
            raise Unreachable(
                "silent", f"no answer to {question.method} {question.path} within {timeout_s:g} s"
            ) from error
        except ReplyError as error:
            raise Unreachable(
                "bad_reply", f"the balancer refuses its replies and answers 502: {error.message}"
            ) from error
        except OSError as error:
            raise Unreachable("closed", "it closed the connection without an answer") from error


@contextlib.asynccontextmanager
async def connected(question: Question) -> AsyncIterator[socket.socket]:
    """Hold a connection to whichever of the host's addresses takes it first."""
    try:
        async with asyncio.timeout(CONNECT_S):
            sock = await _connect(question.backend)
    except TimeoutError as error:
        raise Unreachable("timeout", f"no connection within {CONNECT_S:g} s") from error
    except OSError as error:
        if error.errno == errno.ECONNREFUSED:
            raise Unreachable("refused", "connection refused") from error
        why: Why = "no_such_host" if isinstance(error, socket.gaierror) else "other"
        raise Unreachable(why, error.strerror or str(error)) from error
    with sock:
        yield sock


async def _connect(backend: BackendConfig) -> socket.socket:
    loop = asyncio.get_running_loop()
    failure = OSError("the name has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(
        backend.host, backend.port, type=socket.SOCK_STREAM
    ):
        with contextlib.ExitStack() as stack:
            sock = stack.enter_context(socket.socket(family, kind, protocol))
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, address)
            except OSError as error:
                failure = error
            else:
                stack.pop_all()
                return sock
    raise failure


async def speaks_tls(question: Question) -> bool:
    """Whether a TLS handshake succeeds; many a TLS server closes without a word when it is spoken to in plain text."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # what is wanted is not to trust it, but to know it
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(question.backend.host, question.backend.port, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


async def _exchange(question: Question, sock: socket.socket, connect_s: float) -> Answer:
    """Send and read at once: a service may answer, and close, before it has read a large body."""
    began = time.monotonic()
    sending = asyncio.create_task(_send(sock, _introduction(question, sock) + question.message))
    try:
        raw, head, rest = await _read_head(question, sock)
        keeps_alive = await _read_body(head, rest, sock)
        total_s = time.monotonic() - began
    finally:
        sending.cancel()
        await asyncio.wait([sending])
    _, fields = split_head(raw, ReplyError)
    return Answer(
        status=head.status,
        version=f"1.{head.minor}",
        fields={name.decode().lower(): value.decode("latin-1") for name, value in fields},
        connect_s=connect_s,
        total_s=total_s,
        keeps_alive=keeps_alive,
    )


def _introduction(question: Question, sock: socket.socket) -> bytes:
    """The PROXY protocol header that the backend is to get; gunicorn takes no `PROXY UNKNOWN` before requests."""
    version = question.backend.send_proxy
    if version is None:
        return b""
    if question.is_check:
        return header_for_check(sock, version)
    source, destination = (Endpoint(*name[:2]) for name in (sock.getsockname(), sock.getpeername()))
    return proxy_protocol.write(version, source, destination)


async def _send(sock: socket.socket, message: bytes) -> None:
    """Send it all; who does not listen to the end may have answered all the same, so the reader is to find out."""
    with contextlib.suppress(OSError):
        await asyncio.get_running_loop().sock_sendall(sock, message)


async def _read(sock: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(sock, READ_BYTES)


async def _read_head(question: Question, sock: socket.socket) -> tuple[bytes, ReplyHead, bytes]:
    """Return the final reply's head, as bytes and as the balancer understands it, and what came behind it."""
    parser = ReplyParser(question.limits.head_fields, shapes=0)
    data = await _read(sock)
    if not data:
        raise Unreachable("closed", "it closed the connection without an answer")
    if data.startswith(TLS_ALERT):
        raise Unreachable("tls", "it speaks TLS (https) on this port")
    if not data.startswith(b"HTTP/"[: len(data)]):
        raise Unreachable("not_http", f"what it says is not HTTP: {data[:40]!r}")
    interim_replies = 0
    while True:
        while end := reply_head_end(data, question.limits.head_bytes):
            raw, data = data[:end], data[end:]
            head = parser.parse(raw, question.method.encode())
            if head.status == SWITCHING_PROTOCOLS:
                raise ReplyError("101 Switching Protocols, which nobody asked for")
            if head.is_final:
                return raw, head, data
            interim_replies += 1
            if interim_replies > MOST_INTERIM_REPLIES:
                raise ReplyError("too many interim replies")
        data += await _read_more(sock)


async def _read_more(sock: socket.socket) -> bytes:
    data = await _read(sock)
    if not data:
        raise Unreachable("closed", "it closed the connection in the middle of its reply")
    return data


async def _read_body(head: ReplyHead, data: bytes, sock: socket.socket) -> bool:
    """Read to the end, which begins with `data`; returns whether the connection would take another request."""
    chunked = ChunkedBody("backend")
    size = 0
    while True:
        size += len(data)
        if size > MOST_BODY_BYTES:
            raise Unreachable("other", "its reply does not end")
        if head.framing is Framing.UNTIL_CLOSE:
            data = await _read(sock)
            if not data:
                return False
            continue
        if head.framing is Framing.CHUNKED:
            surplus = len(data) - chunked.feed(data)
            is_whole = chunked.done
        else:
            surplus = size - head.content_length
            is_whole = surplus >= 0
        if is_whole:
            return head.keep_alive and not surplus
        data = await _read_more(sock)
