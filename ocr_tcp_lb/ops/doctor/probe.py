"""One HTTP request to a service, and everything that its answer tells; read with h11, bounded in time and size.

Raises Unreachable, which says in a word why.
"""

import asyncio
import errno
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import h11

from ocr_tcp_lb.config import MIB
from ocr_tcp_lb.errors import LoadBalancerError

CONNECT_S = 3.0
MOST_BODY_BYTES = 64 * MIB
READ_BYTES = 64 * 1024
TLS_ALERT = b"\x15\x03"  # RFC 8446, section 5.1: what a TLS server answers to plain text

Why = Literal["refused", "timeout", "no_such_host", "tls", "not_http", "closed", "silent", "other"]


class Unreachable(LoadBalancerError):
    """There was no HTTP answer; `why` says what there was instead."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.why = why


@dataclass(frozen=True, slots=True)
class Question:
    """What to send, and to whom."""

    host: str
    port: int
    path: str = "/"
    method: str = "GET"
    fields: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    version: str  # "1.1" or "1.0"
    fields: Mapping[str, str]
    connect_s: float
    total_s: float  # from the connection on
    keeps_alive: bool


async def ask(question: Question, timeout_s: float) -> Answer:
    """Ask on a connection of its own, and see whether the service would take another request on it."""
    began = time.monotonic()
    reader, writer = await _connect(question)
    connected = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(question, reader, writer, connected - began)
    except TimeoutError as error:
        raise Unreachable("silent", f"no answer within {timeout_s:g} s") from error
    except (OSError, asyncio.IncompleteReadError) as error:
        raise Unreachable("closed", "it closed the connection without an answer") from error
    finally:
        writer.transport.abort()


async def speaks_tls(question: Question) -> bool:
    """Whether a TLS handshake succeeds; many a TLS server closes without a word when it is spoken to in plain text."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # what is wanted is not to trust it, but to know it
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(question.host, question.port, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


async def _connect(question: Question) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        async with asyncio.timeout(CONNECT_S):
            return await asyncio.open_connection(question.host, question.port, limit=READ_BYTES)
    except TimeoutError as error:
        raise Unreachable("timeout", f"no connection within {CONNECT_S:g} s") from error
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.ECONNREFUSED or "refused" in str(error).lower():
            raise Unreachable("refused", "connection refused") from error
        why: Why = "no_such_host" if type(error).__name__ == "gaierror" else "other"
        raise Unreachable(why, reason) from error


async def _exchange(
    question: Question, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connect_s: float
) -> Answer:
    connection = h11.Connection(h11.CLIENT)
    began = time.monotonic()
    writer.write(_message(connection, question))
    await writer.drain()
    head: h11.Response | None = None
    size = 0
    first = True
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise Unreachable("not_http", f"what it says is not HTTP: {error}") from error
        if event is h11.NEED_DATA:
            data = await reader.read(READ_BYTES)
            if first and data.startswith(TLS_ALERT):
                raise Unreachable("tls", "it speaks TLS (https) on this port")
            if first and not data:
                raise Unreachable("closed", "it closed the connection without an answer")
            if first and not data.startswith(b"HTTP/"[: len(data)]):
                raise Unreachable("not_http", f"what it says is not HTTP: {data[:40]!r}")
            first = False
            connection.receive_data(data)
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            size += len(event.data)  # nobody looks into it
            if size > MOST_BODY_BYTES:
                raise Unreachable("other", "its reply does not end")
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return Answer(
                status=head.status_code,
                version=head.http_version.decode(),
                fields={name.decode(): value.decode("latin-1") for name, value in head.headers},
                connect_s=connect_s,
                total_s=time.monotonic() - began,
                keeps_alive=connection.their_state is h11.DONE and connection.our_state is h11.DONE,
            )


def _message(connection: h11.Connection, question: Question) -> bytes:
    host = f"[{question.host}]" if ":" in question.host else question.host
    fields = {"Host": f"{host}:{question.port}", "User-Agent": "ocr-tcp-lb-doctor", **question.fields}
    if question.body or question.method == "POST":
        fields["Content-Length"] = str(len(question.body))
    head = h11.Request(method=question.method, target=question.path, headers=list(fields.items()))
    parts = [connection.send(head), connection.send(h11.Data(data=question.body)), connection.send(h11.EndOfMessage())]
    return b"".join(part for part in parts if part)
