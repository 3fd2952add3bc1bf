"""Where a head ends, and which beginnings can never become a good one.

`head_end` returns the index after the empty line, or 0 while the head is incomplete; a complete head costs
one search. It raises early for what no further byte can repair, so that a wrong protocol or a hostile client
gets its answer at once instead of a timeout. What is wrong *inside* a complete head is the parser's to say.
"""

import re
from typing import Final

from ocr_tcp_lb.wire.errors import ReplyError, RequestError, bad_request
from ocr_tcp_lb.wire.fields import CRLF, END, TOKEN
from ocr_tcp_lb.wire.startline import read_request_line, read_status_line, unsupported_version

_PREFACE = b"PRI * HTTP/2.0"  # RFC 9113, 3.4
_TLS_HANDSHAKE = 0x16  # RFC 8446, 5.1: the content type of a ClientHello's record

# A control character, a CR without its LF, a LF without its CR, and a folded line. A CR at the very end may
# still get its LF. (In a field's value HTAB is fine.)
_HOPELESS: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?![\n])(?!\Z)|(?<!\r)\n|\r\n[\t ]")


def head_end(data: bytes | bytearray, limit: int, start: int = 0) -> int:
    """Find the end of a request's head of at most `limit` bytes.

    `start` is how many bytes an earlier call has seen; with it, a head that drips in costs linear time.
    """
    end = data.find(END, max(0, start - 3)) + 4
    if 4 <= end <= limit:
        return end
    if data:
        _refuse_request(data, limit, start)
    if end >= 4 or len(data) >= limit:
        raise _too_large(data, limit)
    return 0


def reply_head_end(data: bytes | bytearray, limit: int, start: int = 0) -> int:
    """Find the end of a reply's head, as `head_end` does; raises `ReplyError`."""
    end = data.find(END, max(0, start - 3)) + 4
    if 4 <= end <= limit:
        return end
    if not b"HTTP/1.".startswith(data[:7]):
        raise ReplyError("the backend does not speak HTTP/1")
    if _HOPELESS.search(data, max(0, start - 2)):
        raise ReplyError("the backend sent a control character, a bare line end or a folded line in its head")
    line_end = data.find(CRLF)
    if line_end >= max(0, start - 1):
        read_status_line(bytes(data[:line_end]))
    if end >= 4 or len(data) >= limit:
        raise ReplyError(f"the backend sent a head over {limit} bytes")
    return 0


def _refuse_request(data: bytes | bytearray, limit: int, start: int) -> None:
    """Raise if no further byte can make a good head of these."""
    if data[0] == _TLS_HANDSHAKE:
        raise bad_request("this looks like TLS; this port speaks plain HTTP")
    if data.startswith(_PREFACE):
        raise unsupported_version(b"HTTP/2.0")
    if not TOKEN.match(data):
        raise bad_request("a head must begin with a method: no white space, empty line or binary data")
    if _HOPELESS.search(data, max(0, start - 2), limit):
        raise bad_request("a control character, a bare line end or a folded line in the head (RFC 9112, 2.2)")
    line_end = data.find(CRLF)
    if line_end >= max(0, start - 1):
        read_request_line(bytes(data[:line_end]))


def _too_large(data: bytes | bytearray, limit: int) -> RequestError:
    if data.find(CRLF, 0, limit) < 0:  # RFC 9112, 3: 414 for a target longer than we parse
        return RequestError(414, "target_too_long", f"the request line is longer than {limit} bytes")
    return RequestError(431, "head_too_large", f"the head is longer than {limit} bytes")  # RFC 6585, 5
