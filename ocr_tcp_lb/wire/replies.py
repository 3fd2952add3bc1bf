"""Replies that the balancer itself gives: complete messages, ready to send.

Errors are JSON, `{"error": {"code", "message", "request_id"}}`, so that a program can act on `code` and a
person on `message`.
"""

import json
from http import HTTPStatus

CONTINUE_REPLY = b"HTTP/1.1 100 Continue\r\n\r\n"

REASONS: dict[int, bytes] = {status.value: status.phrase.encode("ascii") for status in HTTPStatus}

_ALLOWED = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"  # RFC 9110, 15.5.6: a 405 must say


def error_reply(
    status: int,
    code: str,
    message: str,
    request_id: bytes,
    *,
    minor: int = 1,
    close: bool = True,
    head_only: bool = False,
    retry_after_s: int | None = None,
    extra: bytes = b"",
) -> bytes:
    """Make an error reply for a client of HTTP/1.`minor`.

    `close` says that its connection ends here; `head_only` leaves the body out, as the answer to HEAD needs
    (RFC 9110, 9.3.2); an empty `request_id` sends no X-Request-Id; `extra` is ready field lines, each with its CRLF.
    """
    error = {"code": code, "message": message, "request_id": request_id.decode("latin-1")}
    body = json.dumps({"error": error}).encode("ascii") + b"\n"
    lines = [
        b"HTTP/1.1 %d %b" % (status, REASONS.get(status, b"")),
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        b"Cache-Control: no-store",
    ]
    if request_id:
        lines.append(b"X-Request-Id: " + request_id)
    if retry_after_s is not None:
        lines.append(b"Retry-After: %d" % retry_after_s)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append(b"Allow: " + _ALLOWED)
    if close:
        lines.append(b"Connection: close")
    elif minor == 0:  # RFC 9112, 9.3
        lines.append(b"Connection: keep-alive")
    return b"\r\n".join([*lines, extra, b"" if head_only else body])
