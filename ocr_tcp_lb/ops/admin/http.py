"""Requests and replies of the admin listener: one a connection, read with h11, bounded in size, number and time.

`Http` calls `answer(request)`, which must not raise. All sockets share the places; when they are taken, a newcomer gets
that of the connection which has been silent longest: idle ones cannot lock anybody out.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

import h11

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 64  # of all sockets together; a page polls with one at a time
HEAD_LIMIT_BYTES = 16 * 1024
BODY_LIMIT_BYTES = 64 * 1024
EXCHANGE_S = 10.0  # for everything: request, reply, and the client's reading of it
READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request; field names are in lower case, of repeated fields the last one counts."""

    method: str
    path: str  # as sent: nothing is decoded, so nothing can hide in it
    query: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """What to answer."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    fields: Mapping[str, str] = field(default_factory=dict)


Answer = Callable[[Request], Awaitable[Reply]]


def json_reply(status: int, value: object, **fields: str) -> Reply:
    """Make a reply of JSON; `fields` are spelled with underscores."""
    named = {name.replace("_", "-").title(): value for name, value in fields.items()}
    body = json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    return Reply(status, body, "application/json", named)


def error_reply(status: int, code: str, message: str, **fields: str) -> Reply:
    """Make an error of the same shape as those that clients of the balancer get."""
    return json_reply(status, {"error": {"code": code, "message": message}}, **fields)


class _Refused(Exception):
    """The request cannot be read; carries what to answer."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class Places:
    """The connections that are open, however they came; owns their tasks."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], None] = {}  # who has been silent longest comes first

    def __len__(self) -> int:
        return len(self._tasks)

    def give(self, serving: Coroutine[None, None, None], transport: asyncio.WriteTransport) -> None:
        """Give a new connection a place, if need be that of another one; it ends with `serving`."""
        if len(self._tasks) >= MOST_CONNECTIONS:
            longest_silent = next(iter(self._tasks))
            del self._tasks[longest_silent]
            longest_silent.cancel()
        task = asyncio.ensure_future(serving)
        self._tasks[task] = None

        def leave(_: asyncio.Task[None]) -> None:
            self._tasks.pop(task, None)
            transport.abort()  # here, since who is cancelled at once never gets as far as a `finally`

        task.add_done_callback(leave)

    def hear(self) -> None:
        """The connection of this task has said something."""
        task = asyncio.current_task()
        if task in self._tasks:
            self._tasks[task] = self._tasks.pop(task)

    async def close(self) -> None:
        """End all connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Http:
    """Serves the connections of one socket."""

    def __init__(self, answer: Answer, places: Places) -> None:
        self._answer = answer
        self._places = places

    def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a new connection; the callback of `asyncio.start_server`."""
        self._places.give(self._serve(reader, writer), writer.transport)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(EXCHANGE_S):
                await self._exchange(reader, writer)
                writer.close()
                await writer.wait_closed()  # until the client has read all of it
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # it is over, either way
        except Exception:
            log.exception("unexpected error on the admin listener")

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, HEAD_LIMIT_BYTES)
        try:
            request = await self._read(connection, reader)
        except _Refused as refused:
            writer.write(_message(connection, refused.reply))
            await _linger(reader, writer)
            return
        if request is not None:
            reply = await self._answer_safely(request)
            writer.write(_message(connection, reply, head_only=request.method == "HEAD"))
            await writer.drain()

    async def _answer_safely(self, request: Request) -> Reply:
        try:
            return await self._answer(request)
        except Exception:
            log.exception("unexpected error on %s", request.path)
            return error_reply(500, "internal_error", "a mistake of the balancer's; its log says more")

    async def _read(self, connection: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
        """Return the request; None when the client left without one. Raises _Refused."""
        head: h11.Request | None = None
        body = b""
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError as error:
                hint = error.error_status_hint
                raise _Refused(error_reply(hint, "bad_request", f"this is not a request: {error}")) from error
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(READ_BYTES))
                self._places.hear()
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > BODY_LIMIT_BYTES:
                    message = f"the body is over {BODY_LIMIT_BYTES} bytes"
                    raise _Refused(error_reply(413, "body_too_large", message))
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return _request(head, body)
            else:
                return None


def _request(head: h11.Request, body: bytes) -> Request:
    try:
        target = urlsplit(head.target.decode("ascii"))
        query = dict(parse_qsl(target.query, max_num_fields=16))
    except ValueError as error:
        raise _Refused(error_reply(400, "bad_request", "the target cannot be read")) from error
    fields = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
    if target.scheme and target.netloc:
        fields["host"] = target.netloc  # RFC 9112, 3.2.2: of an absolute target, it counts instead
    return Request(head.method.decode("ascii"), target.path, query, fields, body)


def _message(connection: h11.Connection, reply: Reply, *, head_only: bool = False) -> bytes:
    """The whole reply as bytes, the head alone for HEAD; nothing if the connection is past that."""
    fields = {
        "Content-Type": reply.content_type,
        "Content-Length": str(len(reply.body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
        **reply.fields,
    }
    if connection.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return b""
    head = connection.send(h11.Response(status_code=reply.status, headers=list(fields.items()))) or b""
    return head if head_only else head + reply.body


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let a client that still sends read its answer: closing with unread bytes would send a reset."""
    await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
    while await reader.read(READ_BYTES):
        pass
