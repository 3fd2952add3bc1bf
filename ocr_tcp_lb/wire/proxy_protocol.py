"""The PROXY protocol, versions 1 and 2: who a proxy's client is, told before the first byte of its connection.

`read` takes the beginning of a stream and returns a `ProxyHeader`, or None while it is incomplete; it raises
`RequestError` (400) for anything else, so a header that is required is never guessed to be absent. `write` makes
the header for a backend. The rules are those of haproxy.org's `proxy-protocol.txt`, cited by section.
"""

import ipaddress
import re
import struct
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ocr_tcp_lb.wire.errors import RequestError

MAX_V1_BYTES = 107  # section 2.1: `PROXY UNKNOWN` with the longest addresses, and CRLF
MAX_TLV_BYTES = 4096  # HAProxy and AWS send some tens of bytes; a client certificate's name may take hundreds

_START_V1 = b"PROXY "
_START_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_V2 = struct.Struct("!12sBBH")  # signature, version and command, family and transport, length of the rest
_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6, _UNIX_STREAM = 0x00, 0x11, 0x21, 0x31
_HIGHEST_FAMILY, _HIGHEST_TRANSPORT = 3, 2
_ADDRESS_BYTES = {1: 12, 2: 36, 3: 216}  # by family: two addresses and, for IP, two ports

_PORT = rb"(0|[1-9][0-9]{0,4})"  # no leading zeros
_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|(TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) " + _PORT + b" " + _PORT + rb")\r\n"
)

Version = Literal[1, 2]


class Endpoint(NamedTuple):
    """One end of a connection: an IP address as text, or `unix` with port 0 for any unix socket."""

    address: str
    port: int


UNIX = Endpoint("unix", 0)


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a proxy said: both ends of its client's connection, in the first `size` bytes of the stream.

    Both ends are None where the connection speaks for itself: a proxy's own check, or a transport that is not TCP.
    """

    size: int
    source: Endpoint | None = None
    destination: Endpoint | None = None


def read(data: bytes | bytearray) -> ProxyHeader | None:
    """Read the header that `data` must begin with; None while it may still become one.

    At most 107 bytes (version 1) or 16 + 216 + 4096 (version 2) are ever needed. What follows the header is left
    alone. Raises `RequestError`.
    """
    start = bytes(data[: len(_START_V2)])
    if start == _START_V2:
        return _read_v2(data)
    if start.startswith(_START_V1):
        return _read_v1(data)
    if _START_V2.startswith(start) or _START_V1.startswith(start):
        return None
    raise _bad("a PROXY protocol header must come first on a connection from a trusted proxy")


def _bad(message: str) -> RequestError:
    return RequestError(400, "bad_proxy_header", message)


def _read_v1(data: bytes | bytearray) -> ProxyHeader | None:
    """Read `PROXY TCP4 source destination port port CRLF` (section 2.1)."""
    end = data.find(b"\n", 0, MAX_V1_BYTES) + 1
    if not end:
        if len(data) >= MAX_V1_BYTES:
            raise _bad(f"the PROXY line is longer than {MAX_V1_BYTES} bytes")
        return None
    match = _LINE.fullmatch(data, 0, end)
    if not match:
        raise _bad("the PROXY line is malformed")
    family, source, destination, source_port, destination_port = match.groups()
    if family is None:  # UNKNOWN: use the connection's own ends, ignore the rest of the line
        return ProxyHeader(end)
    return ProxyHeader(
        end, _endpoint_v1(family, source, source_port), _endpoint_v1(family, destination, destination_port)
    )


def _endpoint_v1(family: bytes, address: bytes, port: bytes) -> Endpoint:
    kind = ipaddress.IPv4Address if family == b"TCP4" else ipaddress.IPv6Address
    try:
        host = _host(kind(address.decode()))
    except ValueError as error:
        raise _bad("the PROXY line has an address that is not one of its family") from error
    if int(port) > 65535:
        raise _bad("the PROXY line has a port above 65535")
    return Endpoint(host, int(port))


def _read_v2(data: bytes | bytearray) -> ProxyHeader | None:
    """Read the binary header (section 2.2)."""
    if len(data) < _FIXED_V2.size:
        return None
    _, command, kind, length = _FIXED_V2.unpack_from(data)
    family, transport = divmod(kind, 16)
    if command not in (_LOCAL, _PROXY):
        raise _bad("the PROXY header has an unknown version or command")
    if command == _PROXY and (family > _HIGHEST_FAMILY or transport > _HIGHEST_TRANSPORT):
        raise _bad("the PROXY header has an unknown address family or transport")
    if length > _ADDRESS_BYTES[_HIGHEST_FAMILY] + MAX_TLV_BYTES:
        raise _bad("the PROXY header is too long")
    size = _FIXED_V2.size + length
    if len(data) < size:
        return None
    if command == _LOCAL or not family or not transport:
        return ProxyHeader(size)  # the block's content is to be ignored, its length is not
    block = bytes(data[_FIXED_V2.size : size])
    if length < _ADDRESS_BYTES[family]:
        raise _bad("the PROXY header is too short for its addresses")
    _check_tlvs(block, _ADDRESS_BYTES[family])
    return ProxyHeader(size, *_endpoints_v2(kind, block))


def _endpoints_v2(kind: int, block: bytes) -> tuple[Endpoint, Endpoint] | tuple[None, None]:
    if kind == _UNIX_STREAM:
        return UNIX, UNIX  # clients' sockets seldom have a path, and nobody decides on it
    if kind not in (_TCP4, _TCP6):
        return None, None  # datagrams: not supported, hence as if unspecified
    layout = "!4s4sHH" if kind == _TCP4 else "!16s16sHH"
    source, destination, source_port, destination_port = struct.unpack_from(layout, block)
    return _endpoint_v2(source, source_port), _endpoint_v2(destination, destination_port)


def _endpoint_v2(packed: bytes, port: int) -> Endpoint:
    return Endpoint(_host(ipaddress.ip_address(packed)), port)


def _host(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Return the address as text; an IPv4-mapped one is the IPv4 address's own (RFC 4291, 2.5.5.2)."""
    mapped = address.ipv4_mapped if address.version == 6 else None
    return str(address if mapped is None else mapped)


def _check_tlvs(block: bytes, at: int) -> None:
    """Refuse extensions (type, two bytes of length, value) that do not fill the block exactly; ignore what they say."""
    while at + 3 <= len(block):
        at += 3 + int.from_bytes(block[at + 1 : at + 3])
    if at != len(block):
        raise _bad("the PROXY header has an extension that does not fit")


def write(version: Version, source: Endpoint | None, destination: Endpoint | None) -> bytes:
    """Write the header for a backend; ends that are missing or unix sockets are not told, as both versions allow.

    Where only one end is IPv4, it is written as an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2).
    """
    if source is None or destination is None or UNIX in (source, destination):
        return b"PROXY UNKNOWN\r\n" if version == 1 else _FIXED_V2.pack(_START_V2, _LOCAL, _UNSPECIFIED, 0)
    addresses = [ipaddress.ip_address(end.address) for end in (source, destination)]
    is_tcp4 = all(address.version == 4 for address in addresses)
    packed = [address.packed if is_tcp4 else _packed_v6(address) for address in addresses]
    if version == 1:
        hosts = " ".join(str(ipaddress.ip_address(one)) for one in packed)
        family = "TCP4" if is_tcp4 else "TCP6"
        return f"PROXY {family} {hosts} {source.port} {destination.port}\r\n".encode()
    block = b"".join(packed) + struct.pack("!HH", source.port, destination.port)
    return _FIXED_V2.pack(_START_V2, _PROXY, _TCP4 if is_tcp4 else _TCP6, len(block)) + block


def _packed_v6(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    """Return 16 bytes; a zone such as `%eth0` means something on this machine only, and is left out."""
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
