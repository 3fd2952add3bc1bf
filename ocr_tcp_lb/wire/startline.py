"""Start lines: the request line (RFC 9112 section 3) and the status line (section 4), without their CRLF.

Strict single spaces, upper-case `HTTP`, visible ASCII targets. Both raise their side's error; neither looks
at what a target means (see `targets`).
"""

import re

from ocr_tcp_lb.wire.errors import ReplyError, RequestError, bad_request
from ocr_tcp_lb.wire.fields import TOKEN

_VISIBLE = re.compile(rb"[!-~]++")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([\t -~\x80-\xff]*+))?")


def read_request_line(line: bytes) -> tuple[bytes, bytes, int]:
    """Return method, target and minor version; 400 for a malformed line, 505 for another version."""
    words = line.split(b" ")
    if len(words) == 2 and TOKEN.fullmatch(words[0]):
        raise bad_request("a request line without a version (HTTP/0.9 is not spoken here)")
    if len(words) != 3:
        raise bad_request("a request line that is not method, target and version with one space between")
    method, target, version = words
    if not TOKEN.fullmatch(method):
        raise bad_request("an invalid method (RFC 9110, 9.1)")
    if not _VISIBLE.fullmatch(target):
        raise bad_request("a target with characters outside visible ASCII (RFC 9112, 3.2)")
    if b"#" in target:
        raise bad_request("a fragment in the target (RFC 9112, 3.2)")
    if not _VERSION.fullmatch(version):
        raise bad_request("a malformed HTTP version (RFC 9112, 2.3)")
    if version not in (b"HTTP/1.0", b"HTTP/1.1"):
        raise unsupported_version(version)
    return method, target, version[-1] - ord("0")


def unsupported_version(version: bytes) -> RequestError:
    """Make what a request of another version is refused with."""
    what = "HTTP/2 without TLS" if version == b"HTTP/2.0" else "this version of HTTP"
    return RequestError(505, "unsupported_version", f"{what} is not spoken here, only HTTP/1.0 and 1.1")


def read_status_line(line: bytes) -> tuple[int, int, bytes]:
    """Return status, minor version and reason; a missing reason is common and taken for an empty one."""
    match = _STATUS_LINE.fullmatch(line)
    if not match:
        raise ReplyError("the backend sent an invalid status line")
    minor, status, reason = match.groups()
    return int(status), int(minor), reason or b""
