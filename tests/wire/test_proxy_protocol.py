import ipaddress
import struct
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocr_tcp_lb.wire.errors import RequestError
from ocr_tcp_lb.wire.proxy_protocol import UNIX, Endpoint, ProxyHeader, Version, read, write

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
NOOP = b"\x04\x00\x02ab"  # an extension of two bytes

CLIENT4, SERVER4 = Endpoint("192.0.2.7", 56324), Endpoint("198.51.100.1", 443)
CLIENT6, SERVER6 = Endpoint("2001:db8::7", 1), Endpoint("::1", 65535)
LINE4 = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
LINE6 = b"PROXY TCP6 2001:db8::7 ::1 1 65535\r\n"
BLOCK4 = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack("!HH", 56324, 443)
BLOCK6 = ipaddress.ip_address("2001:db8::7").packed + ipaddress.ip_address("::1").packed + struct.pack("!HH", 1, 65535)


def binary(kind: int, block: bytes, command: int = 0x21, length: int | None = None) -> bytes:
    """A header of version 2; `length` is told truly unless given."""
    return SIGNATURE + struct.pack("!BBH", command, kind, len(block) if length is None else length) + block


GOOD = {
    "TCP4": (LINE4, CLIENT4, SERVER4),
    "TCP6": (LINE6, CLIENT6, SERVER6),
    "TCP6 in capitals": (LINE6.replace(b"2001:db8::7", b"2001:0DB8:0:0::0007"), CLIENT6, SERVER6),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", None, None),
    "UNKNOWN, the longest": (b"PROXY UNKNOWN" + b" ffff" * 18 + b"  \r\n", None, None),
    "v2 TCP4": (binary(0x11, BLOCK4), CLIENT4, SERVER4),
    "v2 TCP4 with extensions": (binary(0x11, BLOCK4 + NOOP + NOOP), CLIENT4, SERVER4),
    "v2 TCP4, the longest": (binary(0x11, BLOCK4 + b"\x04\x10\x00" + bytes(4096)), CLIENT4, SERVER4),
    "v2 TCP6": (binary(0x21, BLOCK6), CLIENT6, SERVER6),
    "v2 TCP6 with extensions": (binary(0x21, BLOCK6 + NOOP), CLIENT6, SERVER6),
    "TCP6, an IPv4 client": (
        LINE6.replace(b"2001:db8::7", b"::ffff:192.0.2.9"),
        Endpoint("192.0.2.9", CLIENT6.port),
        SERVER6,
    ),
    "v2 TCP6, an IPv4 client": (
        binary(0x21, bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 9]) + BLOCK6[16:]),
        Endpoint("192.0.2.9", 1),
        SERVER6,
    ),
    "v2 unix": (binary(0x31, bytes(216)), UNIX, UNIX),
    "v2 LOCAL": (binary(0x00, b"", 0x20), None, None),
    "v2 LOCAL with a block to be skipped": (binary(0x11, BLOCK4, 0x20), None, None),
    "v2 LOCAL of a family to come": (binary(0xFF, b"x", 0x20), None, None),
    "v2 UNSPEC": (binary(0x00, b""), None, None),
    "v2 UNSPEC with a block to be skipped": (binary(0x01, b"abc"), None, None),
    "v2 UDP": (binary(0x12, BLOCK4), None, None),
}


@pytest.mark.parametrize(("header", "source", "destination"), GOOD.values(), ids=GOOD)
def test_header_is_read_whole_byte_by_byte_and_with_bytes_behind_it(
    header: bytes, source: Endpoint | None, destination: Endpoint | None
) -> None:
    told = ProxyHeader(len(header), source, destination)
    assert read(header) == told
    assert [read(header[:size]) for size in range(len(header))] == [None] * len(header)
    assert read(bytearray(header + b"GET / HTTP/1.1\r\n")) == told
    assert read(header + header) == told


BAD = {
    "no header": b"GET / HTTP/1.1\r\n",
    "white space before it": b" " + LINE4,
    "TLS": b"\x16\x03\x01\x02\x00",
    "small letters": LINE4.lower(),
    "two spaces": LINE4.replace(b" 443", b"  443"),
    "tab": LINE4.replace(b" 443", b"\t443"),
    "space at the end": LINE4.replace(b"443", b"443 "),
    "bare LF": LINE4.replace(b"\r\n", b"\n"),
    "bare CR": LINE4.replace(b" 443", b"\r443"),
    "another family": LINE4.replace(b"TCP4", b"UDP4"),
    "no family": b"PROXY \r\n",
    "no ports": b"PROXY TCP4 192.0.2.7 198.51.100.1\r\n",
    "only one port": b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
    "three ports": LINE4.replace(b"443", b"443 1"),
    "leading zero in the address": LINE4.replace(b"192.0.2.7", b"192.0.02.7"),
    "short address": LINE4.replace(b"192.0.2.7", b"192.0.2"),
    "address of the other family": LINE4.replace(b"192.0.2.7", b"::1"),
    "IPv4 address in TCP6": LINE6.replace(b"::1", b"127.0.0.1"),
    "zone": LINE6.replace(b"::1", b"fe80::1%1"),
    "host name": LINE4.replace(b"192.0.2.7", b"localhost"),
    "port above 65535": LINE4.replace(b"443", b"65536"),
    "leading zero in the port": LINE4.replace(b"443", b"0443"),
    "signed port": LINE4.replace(b" 443", b" +443"),
    "foreign digits": LINE4.replace(b"443", "٤".encode()),
    "UNKNOWN and more of the word": b"PROXY UNKNOWNS\r\n",
    "UNKNOWN with a bare CR": b"PROXY UNKNOWN a\rb\r\n",
    "line of 108 bytes": b"PROXY UNKNOWN ".ljust(106, b"x") + b"\r\n",
    "v2 signature broken": SIGNATURE[:-1] + b"\r",
    "v2 of version 1": binary(0x11, BLOCK4, 0x11),
    "v2 of version 3": binary(0x11, BLOCK4, 0x31),
    "v2 with command 2": binary(0x11, BLOCK4, 0x22),
    "v2 of family 4": binary(0x41, BLOCK4),
    "v2 of transport 3": binary(0x13, BLOCK4),
    "v2 TCP4 too short": binary(0x11, BLOCK4[:-1]),
    "v2 TCP6 too short": binary(0x21, BLOCK4),
    "v2 unix too short": binary(0x31, bytes(215)),
    "v2 empty": binary(0x11, b""),
    "v2 too long, refused at once": binary(0x11, b"", length=4313),
    "v2 LOCAL too long, refused at once": binary(0x00, b"", 0x20, length=65535),
    "v2 extension cut off": binary(0x11, BLOCK4 + NOOP[:2]),
    "v2 extension too long": binary(0x11, BLOCK4 + NOOP[:-1]),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_is_no_header_is_refused_however_it_arrives(data: bytes) -> None:
    for trailing in (b"", b"x" * 5000):
        with pytest.raises(RequestError) as caught:
            read(data + trailing)
        assert (caught.value.status, caught.value.code) == (400, "bad_proxy_header")
    with pytest.raises(RequestError):
        assert not any(read(data[:size]) for size in range(len(data) + 1))


def test_line_without_an_end_is_waited_for_107_bytes_long() -> None:
    line = b"PROXY UNKNOWN ".ljust(106, b"x")
    assert read(line) is None
    with pytest.raises(RequestError):
        read(line + b"x")


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda tail: SIGNATURE + b"\x21" + tail))
def test_any_bytes_are_read_refused_or_waited_for(data: bytes) -> None:
    try:
        header = read(data)
    except RequestError:
        return
    assert header is None or header.size <= len(data)


@pytest.mark.parametrize(
    ("version", "source", "destination", "header"),
    [
        (1, CLIENT4, SERVER4, LINE4),
        (1, CLIENT6, SERVER6, LINE6),
        (1, UNIX, UNIX, b"PROXY UNKNOWN\r\n"),
        (1, CLIENT4, None, b"PROXY UNKNOWN\r\n"),
        (2, CLIENT4, SERVER4, binary(0x11, BLOCK4)),
        (2, CLIENT6, SERVER6, binary(0x21, BLOCK6)),
        (2, UNIX, SERVER4, binary(0x00, b"", 0x20)),
        (2, None, None, binary(0x00, b"", 0x20)),
    ],
)
def test_header_is_written_as_specified(
    version: Version, source: Endpoint | None, destination: Endpoint | None, header: bytes
) -> None:
    assert write(version, source, destination) == header


@pytest.mark.parametrize("version", [1, 2])
def test_ends_of_two_families_are_both_written_as_ipv6(version: Version) -> None:
    line = write(version, CLIENT4, SERVER6)
    assert line.startswith(b"PROXY TCP6 ::ffff:" if version == 1 else SIGNATURE + b"\x21\x21")
    assert read(line) == ProxyHeader(len(line), CLIENT4, SERVER6)


@pytest.mark.parametrize("version", [1, 2])
def test_zone_of_a_link_local_client_is_left_out(version: Version) -> None:
    header = read(write(version, Endpoint("fe80::1%eth0", 9), SERVER6))
    assert header is not None
    assert header.source == Endpoint("fe80::1", 9)


PORTS = st.integers(0, 65535)


def ends(version: Literal[4, 6]) -> st.SearchStrategy[Endpoint]:
    """Without IPv4-mapped IPv6 addresses, which are read as IPv4 addresses."""
    addresses = st.ip_addresses(v=version).filter(lambda address: address.version == 4 or not address.ipv4_mapped)
    return st.builds(Endpoint, addresses.map(str), PORTS)


@given(
    version=st.sampled_from([1, 2]),
    pair=st.tuples(ends(4), ends(4)) | st.tuples(ends(6), ends(6)),
    trailing=st.binary(max_size=20),
)
def test_what_is_written_reads_back(version: Version, pair: tuple[Endpoint, Endpoint], trailing: bytes) -> None:
    written = write(version, *pair)
    assert read(written + trailing) == ProxyHeader(len(written), *pair)
