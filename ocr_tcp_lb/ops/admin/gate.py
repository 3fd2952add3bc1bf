"""Who may ask the admin listener: a reason to refuse a request, or None. Three questions, in this order.

1. Is it addressed to us? By an IP address, `localhost` or our configured name. A name that an attacker's DNS points
   at 127.0.0.1 (DNS rebinding) is none of these. With a token, the token decides instead: a browser sends none to
   a name that it was not given it for.
2. Does it know the token, if there is one? As `Authorization: Bearer`, or as the password of Basic, for browsers.
3. Does it come from another site's page? Such a page may not change anything (Origin, RFC 6454; Sec-Fetch-Site, W3C).

Unix sockets are guarded by the file system instead of 1; a browser cannot reach them.
The two open paths are asked only the third: health checks name no host (HAProxy's are HTTP/1.0), and know no token.
"""

import base64
import hmac
import ipaddress
import os
import re
import stat
from dataclasses import dataclass

from ocr_tcp_lb.config import Address, TcpAddress
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.ops.admin.http import Reply, Request, error_reply

SHORTEST_TOKEN = 16
OPEN_PATHS = frozenset({"/healthz", "/readyz"})  # say nothing that a connection to the service would not
_SENDABLE = re.compile("[!-~]+").fullmatch  # RFC 6750, 2.1 allows even less
READING = frozenset({"GET", "HEAD"})


class AdminError(LoadBalancerError):
    """The admin listener cannot be started as configured."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What is asked of requests to one address."""

    address: Address
    token: str = ""  # empty: none is asked for

    def refusal(self, request: Request) -> Reply | None:
        """Return what to answer instead, or None: let it in."""
        is_open = request.path in OPEN_PATHS
        if not (self.token or is_open or self._is_addressed(request)):
            return error_reply(421, "wrong_host", "this name is not ours: use an IP address or localhost")
        if self.token and not is_open and not self._knows_token(request):
            challenge = 'Basic realm="ocr-tcp-lb", charset="UTF-8"'
            return error_reply(401, "no_token", "send the token of --admin-token-file", www_authenticate=challenge)
        if request.method not in READING and _is_cross_site(request):
            return error_reply(403, "cross_site", "a page of another site may not control this")
        return None

    def _is_addressed(self, request: Request) -> bool:
        if not isinstance(self.address, TcpAddress):
            return True
        host = _without_port(request.fields.get("host", ""))
        return host in ("localhost", self.address.host) or _is_ip_address(host)

    def _knows_token(self, request: Request) -> bool:
        scheme, _, credentials = request.fields.get("authorization", "").partition(" ")
        given = credentials.strip()
        if scheme.lower() == "basic":
            given = _password(given)
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given.encode(), self.token.encode())


def _is_cross_site(request: Request) -> bool:
    """Whether a browser says so; programs that are none send neither field."""
    site = request.fields.get("sec-fetch-site", "same-origin")
    origin = request.fields.get("origin")
    own = f"http://{request.fields.get('host', '')}"
    return site != "same-origin" or (origin is not None and origin not in (own, own.replace("http", "https", 1)))


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _password(credentials: str) -> str:
    """The password of Basic credentials (RFC 7617); the user's name does not matter."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:  # no ASCII, no base64, no UTF-8
        return ""


def read_token(path: str) -> str:
    """Return the token in a file; raises AdminError if there is none that could keep anybody out."""
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            token = file.read(4096).strip()
    except (OSError, ValueError) as error:
        raise AdminError(f"--admin-token-file: cannot read {path}: {error}") from error
    if stat.S_ISREG(mode) and mode & stat.S_IRWXO:
        raise AdminError(f"--admin-token-file: everybody may read {path}; chmod o= {path}")
    how = f"openssl rand -hex 32 > {path}"
    if len(token) < SHORTEST_TOKEN:
        raise AdminError(f"--admin-token-file: the token in {path} is under {SHORTEST_TOKEN} characters; try {how}")
    if not _SENDABLE(token):
        kind = "one line of ASCII letters, digits and signs, without blanks"
        raise AdminError(f"--admin-token-file: no client can send the token in {path}: it must be {kind}; try {how}")
    return token
