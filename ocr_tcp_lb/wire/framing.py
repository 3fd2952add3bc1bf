"""Where a message's body ends: RFC 9112 section 6.3, its rules numbered as there.

Both functions take what the head says and return the framing; `read_length` reads the length. They raise the sender's
error wherever two readers of the same bytes could disagree; nothing is ever repaired.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Final

from ocr_tcp_lb.wire.errors import Fault, ReplyError, RequestError, bad_request
from ocr_tcp_lb.wire.fields import TOKEN

MAX_LENGTH: Final = 2**63 - 1  # what every backend's signed 64-bit integer holds
_MAX_DIGITS: Final = 19  # digits of MAX_LENGTH


class Framing(Enum):
    """How the end of a body is known."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"


def request_framing(minor: int, codings: Sequence[bytes], lengths: Sequence[bytes]) -> Framing:
    """Frame a request by its Transfer-Encoding and Content-Length values."""
    if codings:
        if minor == 0:  # 6.1: a Transfer-Encoding on HTTP/1.0 means that the framing is faulty
            raise bad_request("Transfer-Encoding on HTTP/1.0 (RFC 9112, 6.1)")
        if lengths:  # rule 3: "ought to be handled as an error"
            raise bad_request("both Transfer-Encoding and Content-Length (RFC 9112, 6.3)")
        _check_request_coding(codings)  # rule 4
        return Framing.CHUNKED
    if lengths:  # rules 5 and 6
        _check_length(lengths, bad_request)
        return Framing.LENGTH
    return Framing.NONE  # rule 7


def reply_framing(status: int, minor: int, codings: Sequence[bytes], lengths: Sequence[bytes]) -> Framing:
    """Frame a reply; faulty fields are refused even where no body follows.

    Of rule 1, HEAD is the caller's, which knows what was asked. Rule 2, the tunnel after CONNECT, cannot arise: no
    CONNECT is ever sent.
    """
    if codings:
        if minor == 0:  # 6.1, as above
            raise ReplyError("the backend sent Transfer-Encoding on HTTP/1.0")
        if lengths:  # rule 3
            raise ReplyError("the backend sent both Transfer-Encoding and Content-Length")
        if len(codings) > 1 or codings[0].lower() != b"chunked":  # rule 4; h11 knows no other coding either
            raise ReplyError("the backend sent a transfer coding other than chunked")
    if lengths:  # rule 5
        _check_length(lengths, ReplyError)
    if status < 200 or status in (204, 304):  # rule 1
        return Framing.NONE
    if codings:
        return Framing.CHUNKED
    if lengths:
        return Framing.LENGTH  # rule 6
    return Framing.UNTIL_CLOSE  # rule 8


def _check_length(lengths: Sequence[bytes], fault: Fault) -> None:
    """Accept one good Content-Length only (RFC 9110, 8.6: repeated equal ones may be refused)."""
    if len(lengths) > 1:
        raise fault("more than one Content-Length")
    read_length(lengths[0], fault)


def read_length(value: bytes, fault: Fault) -> int:
    """Read a Content-Length: digits only, so no sign, list or white space, and within 63 bits."""
    if not value.isdigit() or len(value) > _MAX_DIGITS:
        raise fault("a malformed Content-Length")
    length = int(value)
    if length > MAX_LENGTH:
        raise fault("a Content-Length over 63 bits")
    return length


def _check_request_coding(codings: Sequence[bytes]) -> None:
    """Accept one `chunked` only: 400 where the end would be unknown, 501 for other codings (6.1, 6.3)."""
    if len(codings) > 1:
        raise bad_request("more than one Transfer-Encoding")
    members = [member.strip(b" \t").lower() for member in codings[0].split(b",")]
    if members == [b"chunked"]:
        return
    names = [member.partition(b";")[0].rstrip(b" \t") for member in members]
    if not all(TOKEN.fullmatch(name) for name in names):
        raise bad_request("a malformed Transfer-Encoding")
    if b"chunked" in names[:-1] or members[-1].startswith(b"chunked;"):
        raise bad_request("chunked must be the last transfer coding, once, without parameters")
    raise RequestError(501, "unsupported_coding", "a transfer coding other than chunked (RFC 9112, 6.1)")
