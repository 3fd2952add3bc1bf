"""Where to listen and where the backends are: `:4999`, `[::1]:80`, `unix:/path`, `http://host:5000/get_ocr`.

Each parser takes the text an operator wrote and returns checked values, or raises `BadValue` that guesses
what was meant. Nothing is resolved or bound: a name that does not exist shows when it is used.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote

from ocr_tcp_lb.config import Address, TcpAddress, UnixAddress
from ocr_tcp_lb.settings.faults import BadValue
from ocr_tcp_lb.settings.values import Kind

_HOST_PORT = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[^:]*))?")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")  # RFC 1123 2.1, and container names
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)")
_SLIP = re.compile(r"http(?::/|//)(?P<rest>[^/].*)", re.IGNORECASE)  # a colon or a slash is missing
_PATH_SAFE = "/:@!$&'()*+,;=-._~%"  # RFC 3986 3.3: pchar and the slash
_PATH = re.compile(r"/(?:[A-Za-z0-9/:@!$&'()*+,;=._~-]|%[0-9A-Fa-f]{2})*")
_SPACED_KEY = re.compile(r" +([a-z_-]+)=")  # as in HAProxy's `server`
_LIKELY_PORT = re.compile(r"[1-9][0-9]{3}")  # behind an IPv6 address, where it may be a part of that as well
_UNIX_PATH_BYTES = 107  # sockaddr_un.sun_path holds 108 with the final NUL (unix(7))


@dataclass(frozen=True, slots=True)
class BackendUrl:
    """The parts of `http://host:port/path`; the path is never empty."""

    host: str
    port: int
    path: str


def parse_listen(text: str) -> Address:
    """Read one listening address; port 0 asks the system for a free one."""
    if text.startswith("unix:"):
        return UnixAddress(_unix_path(text.removeprefix("unix:")))
    if text.isascii() and text.isdigit():
        raise BadValue(f"{text!r} has no colon", f"did you mean :{text} ?")
    if "://" in text or "/" in text:
        raise BadValue(f"{text!r} is not an address", "write [HOST]:PORT, or unix:PATH")
    host, port = _host_and_port(text)
    if port is None:
        raise BadValue(f"{text!r} has no port", f"did you mean {TcpAddress(host, 4999)} ?")
    return TcpAddress(host, port)


def parse_backend_url(text: str) -> BackendUrl:
    """Read one backend's `http://HOST[:PORT][/PATH]`; without them the port is 80 and the path `/`."""
    match = _URL.fullmatch(text)
    if not match:
        if "://" in text or not text.strip() or text != text.strip():
            raise BadValue(f"{text!r} is not a URL", "write http://HOST:PORT/PATH")
        slip = _SLIP.fullmatch(text)
        wrong = f"{text} is not a URL" if slip else f"{text} has no scheme"
        raise BadValue(wrong, _guess_url(slip["rest"] if slip else text))
    _refuse_foreign_schemes(match["scheme"].lower(), text)
    if match["rest"]:
        raise BadValue(
            f"{text} has a query or a fragment",
            f"write {text.removesuffix(match['rest'])}: each request brings its own query",
        )
    if "@" in match["authority"]:
        raise BadValue(f"{text} has a user name in it", "clients send their own Authorization field")
    host, port = _host_and_port(match["authority"])
    if not host:
        raise BadValue(f"{text} names no host", "write http://HOST:PORT/PATH")
    if port == 0:
        raise BadValue(f"{text} has port 0", "write the port that the backend listens on")
    return BackendUrl(host, 80 if port is None else port, _url_path(match["path"]))


def _guess_url(rest: str) -> str:
    """Advice for what lacks its scheme, and perhaps its host, too; never a guess that would be refused in turn."""
    guess = f"http://127.0.0.1{rest}" if rest.startswith(":") else f"http://{rest}"
    try:
        parse_backend_url(guess)
    except BadValue:
        return "write http://HOST:PORT/PATH"
    return f"did you mean {guess} ?"


def _refuse_foreign_schemes(scheme: str, text: str) -> None:
    if scheme == "https":
        plain = "http" + text[len(scheme) :]
        raise BadValue(
            f"{text} asks for TLS, which is not spoken to backends",
            f"write {plain}, or put a TLS client such as stunnel beside the balancer and name its port",
        )
    if scheme != "http":
        raise BadValue(f"{text} has the unknown scheme {scheme}", "only http:// is spoken to backends")


def _host_and_port(text: str) -> tuple[str, int | None]:
    """Split `host`, `host:port`, `[v6]:port` or `:port`; the port is None where it is left out."""
    match = _HOST_PORT.fullmatch(text)
    if not match:
        head, _, port = text.rpartition(":")
        is_port = _is_ipv6(head) and _LIKELY_PORT.fullmatch(port)
        if _is_ipv6(text) and not is_port:
            raise BadValue(f"{text} is an IPv6 address without brackets", f"did you mean [{text}]:PORT ?")
        guess = f"did you mean [{head}]:{port} ?" if _is_ipv6(head) else "write HOST:PORT or [IPV6]:PORT"
        raise BadValue(f"{text!r} is not an address", guess)
    if match["v6"] is not None:
        if not _is_ipv6(match["v6"]):
            raise BadValue(f"[{match['v6']}] is not an IPv6 address", "write it as in [::1]:PORT")
        return match["v6"], _port(match["port"])
    return _host(match["host"]), _port(match["port"])


def _host(host: str) -> str:
    labels = host.removesuffix(".").split(".")
    if host and re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError as error:
            raise BadValue(f"{host} is not an IPv4 address", "write four numbers from 0 to 255") from error
    elif host == "*":
        raise BadValue("'*' is not a host", "leave the host out to mean every address, as in :4999")
    elif host and not all(_LABEL.fullmatch(label) for label in labels):
        raise BadValue(f"{host!r} is not a host", "write a host name or an IP address")
    return host.lower()  # RFC 3986 6.2.2.1


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise BadValue(f"{text!r} is not a port", "write a number from 1 to 65535 after the last colon")
    return int(text)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _unix_path(path: str) -> str:
    if not path or not path.isprintable():
        raise BadValue(f"{path!r} is not a socket path", "write it as in unix:/run/ocr-tcp-lb.sock")
    length = len(path.encode())
    if length > _UNIX_PATH_BYTES:
        raise BadValue(f"the path is {length} bytes long", f"the system allows {_UNIX_PATH_BYTES}")
    return path


def _url_path(path: str) -> str:
    """Return the path, `/` for none; it must be writable in a request line as it is (RFC 9112 3.2.1)."""
    if path and not _PATH.fullmatch(path):
        if _SPACED_KEY.search(path):
            right = "keys of a backend follow behind commas: " + _SPACED_KEY.sub(r",\1=", path)
            raise BadValue(f"the path {path!r} has a space in it", right)
        encoded = quote(path, safe=_PATH_SAFE, errors="backslashreplace")
        guess = f"did you mean {encoded} ?"
        right = guess if _PATH.fullmatch(encoded) else "write % only before two hex digits"
        raise BadValue(f"the path {path!r} has characters that a URL cannot hold", right)
    return path or "/"


LISTEN = Kind("ADDRESS", parse_listen, str)
BACKEND_URL = Kind("URL", parse_backend_url, str)
