"""What a request target names: RFC 9112 section 3.2, and the Host it must agree with.

A target that begins with a slash is in origin form already. `resolve` takes any other that the request line's
grammar lets through and returns it in origin form: absolute form whose authority is the Host, and `*` with
OPTIONS; all else is the client's error. CONNECT and authority form are refused: this is a gateway to known
services, not a forward proxy.
"""

import re
from typing import Final

from ocr_tcp_lb.wire.errors import RequestError, bad_request

# RFC 3986, 3.2.2: a name, an IPv4 or [IPv6] address, then an optional port. Without the comma, which would
# look like two fields joined.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+;=%-]{1,255}+|\[[0-9A-Fa-f:.]{2,45}+\])(?::[0-9]{0,5}+)?")

origin_form: Final = re.compile(rb"/[!\"$-~]*+").fullmatch  # visible ASCII without a fragment, as `startline` has it
_ABSOLUTE = re.compile(rb"(?i:http)://([^/?]*+)(.*+)")


def is_host(value: bytes) -> bool:
    """Whether a Host value names a host; an empty one does not (RFC 9110, 4.2.1)."""
    return _HOST.fullmatch(value) is not None


def check_method(method: bytes) -> None:
    """Refuse CONNECT, whatever its target: a tunnel would leave the balancer's hands (RFC 9110, 9.3.6)."""
    if method == b"CONNECT":
        raise RequestError(405, "method_not_allowed", "CONNECT is for forward proxies; this is a gateway")


def resolve(method: bytes, target: bytes, host: bytes) -> tuple[bytes, bytes, bytes]:
    """Return path, query and host; `host` is the Host field's value, empty where HTTP/1.0 sent none."""
    if target == b"*":
        if method != b"OPTIONS":
            raise bad_request("the target * is for OPTIONS only (RFC 9112, 3.2.4)")
        return target, b"", host
    return _from_absolute(method, target, host)


def split_query(target: bytes) -> tuple[bytes, bytes]:
    """Split at the first question mark, which stays with the query."""
    path, mark, query = target.partition(b"?")
    return path, mark + query


def _from_absolute(method: bytes, target: bytes, host: bytes) -> tuple[bytes, bytes, bytes]:
    """Turn `http://authority/path` into origin form (RFC 9112, 3.2.2).

    The RFC lets the authority override a differing Host. We refuse: the backend might look at the other one.
    """
    match = _ABSOLUTE.fullmatch(target)
    if not match:
        raise bad_request("a target that is neither a path nor an http:// URI (RFC 9112, 3.2)")
    authority, rest = match.groups()
    if not is_host(authority):
        raise bad_request("an invalid authority in the target")
    if host and authority.lower() != host.lower():
        raise bad_request("the target's authority differs from Host (RFC 9112, 3.2.2)")
    if not rest and method == b"OPTIONS":  # 3.2.4: the last hop makes it asterisk form
        return b"*", b"", authority
    if not rest.startswith(b"/"):
        rest = b"/" + rest
    return *split_query(rest), authority
