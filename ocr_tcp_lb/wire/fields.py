"""Field lines as RFC 9112 section 5 has them, strictly: the grammar that both sides and trailers share.

`split_head` takes exactly one head and returns its start line and its fields in order, names as spelt, values
without surrounding white space. It raises the given side's error for whatever is not the RFC's own grammar;
the leniencies that the RFC allows (bare LF, folding, white space in odd places) are how smuggling starts.
"""

import re
from collections.abc import Iterable
from typing import Final

from ocr_tcp_lb.wire.errors import Fault

CRLF: Final = b"\r\n"
END: Final = b"\r\n\r\n"

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++")  # RFC 9110, 5.6.2
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # HTAB is white space; all others are refused

Field = tuple[bytes, bytes]

HOP_BY_HOP = frozenset(  # RFC 9110, 7.6.1, and the two that belong to one proxy only, 11.7
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"upgrade",
    }
)
UNREMOVABLE = frozenset({b"host", b"content-length", b"transfer-encoding"})
"""`Connection` may not name these away: it would change whom a message is for, or where it ends."""

_OURS = HOP_BY_HOP | UNREMOVABLE | {b"expect", b"via", b"x-request-id"}


def split_head(raw: bytes, fault: Fault) -> tuple[bytes, list[Field]]:
    """Split one complete head, its empty line included, into the start line and the fields."""
    head, end, rest = raw.partition(END)
    if not end or rest:
        raise fault("the head does not end with its first empty line")
    start, *lines = head.split(CRLF)
    if not start:
        raise fault("an empty line before the start line")
    return start, [read_field(line, fault) for line in lines]


def read_field(line: bytes, fault: Fault) -> Field:
    """Read one field line without its CRLF (RFC 9112, 5.1)."""
    if line.startswith((b" ", b"\t")):
        raise fault("a folded field line (RFC 9112, 5.2)")
    name, colon, value = line.partition(b":")
    if not colon:
        raise fault("a field line without a colon")
    if not TOKEN.fullmatch(name):
        if name.endswith((b" ", b"\t")):
            raise fault("white space between a field's name and its colon (RFC 9112, 5.1)")
        raise fault("an invalid field name")
    if _CONTROL.search(value):
        raise fault("a control character in a field's value (RFC 9110, 5.5)")
    stripped = value.strip(b" \t")
    if name.lower() == b"transfer-encoding" and value.strip(b" ") != stripped:
        raise fault("a tab around Transfer-Encoding")  # RFC 9110, 5.6.3 allows it; llhttp reads another coding then
    return name, stripped


def list_members(values: Iterable[bytes]) -> list[bytes]:
    """Split comma-separated values into lower-case members, empty ones left out (RFC 9110, 5.6.1)."""
    members = (member.strip(b" \t").lower() for value in values for member in value.split(b","))
    return [member for member in members if member]


def claims_origin(lower_name: bytes) -> bool:
    """Whether the field tells where a request came from, which only a trusted hop may say."""
    name = lower_name.replace(b"_", b"-")
    return name == b"forwarded" or name.startswith(b"x-forwarded-")


def impersonates(lower_name: bytes) -> bool:
    """Whether a CGI-style server would take the field for one that we decide about.

    WSGI and CGI spell `Content-Length` and `Content_Length` both as `CONTENT_LENGTH`; nginx drops the latter.
    """
    return b"_" in lower_name and (lower_name.replace(b"_", b"-") in _OURS or claims_origin(lower_name))
