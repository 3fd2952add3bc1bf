"""The PROXY protocol, both versions, both directions and both modes: who the client is, and who may say so."""

import ipaddress
import socket
import struct
from pathlib import Path

import pytest

from ocr_tcp_lb.config import Limits, Timeouts, TrustedProxies, UnixAddress
from ocr_tcp_lb.relay.claim import Claim
from ocr_tcp_lb.wire import RequestParser, proxy_protocol
from ocr_tcp_lb.wire.proxy_protocol import Endpoint

from .support import GET, OK, Balancer, House, Peer, ScriptedBackend, guest, post, until

SOURCE, DESTINATION = Endpoint("203.0.113.9", 4711), Endpoint("198.51.100.1", 80)
SIX = Endpoint("2001:db8::9", 4711), Endpoint("2001:db8::1", 80)
V1 = b"PROXY TCP4 203.0.113.9 198.51.100.1 4711 80\r\n"
V2 = proxy_protocol.write(2, SOURCE, DESTINATION)
LOCAL = proxy_protocol.write(2, None, None)


def networks(*texts: str) -> TrustedProxies:
    return TrustedProxies(tuple(ipaddress.ip_network(text) for text in texts))


def front(house: House, *, trusted: str = "127.0.0.0/8", **config: object) -> tuple[Balancer, ScriptedBackend]:
    """A balancer that expects introductions from `trusted`, and its backend."""
    backend = house.backend()
    lb = house.balancer([backend], proxy_protocol=True, trusted_proxies=networks(trusted), **config)
    return lb, backend


# Taken in


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (V1, b"203.0.113.9"),
        (V2, b"203.0.113.9"),
        (proxy_protocol.write(1, *SIX), b"2001:db8::9"),
        (proxy_protocol.write(2, *SIX), b"2001:db8::9"),
        (b"PROXY UNKNOWN\r\n", b"127.0.0.1"),
        (LOCAL, b"127.0.0.1"),
    ],
    ids=["v1", "v2", "v1 IPv6", "v2 IPv6", "v1 unknown", "v2 local"],
)
@pytest.mark.parametrize("bytewise", [False, True])
async def test_backend_and_log_learn_the_client_that_the_proxy_names(
    house: House, header: bytes, address: bytes, bytewise: bool
) -> None:
    lb, backend = front(house)
    backend.answer()
    client = await lb.client()
    await (client.send_bytewise(header + GET) if bytewise else client.send(header + GET))
    assert (await client.read_message()).status == 200
    assert backend.requests[0].values(b"x-forwarded-for") == [address]
    assert (await lb.record()).client == address.decode()


async def test_introduction_is_for_the_connection_and_comes_once(house: House) -> None:
    lb, backend = front(house)
    backend.answer()
    client = await lb.client()
    await client.send(V1 + GET + GET)
    for _ in range(2):
        assert (await client.read_message()).status == 200
    await client.send(V1 + GET)
    assert (await client.read_message()).status == 400


@pytest.mark.parametrize(
    "first",
    [
        GET,
        b"PROXY TCP4 1.2.3.4\r\n" + GET,
        b"PROXY TCP4 999.2.3.4 1.1.1.1 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
    ],
    ids=["none", "cut short", "no address", "version 3"],
)
async def test_trusted_proxy_that_does_not_introduce_its_client_is_closed_without_a_word(
    house: House, first: bytes
) -> None:
    lb, backend = front(house)
    client = await lb.client()
    await client.send(first)
    assert (await client.read_to_end())[0] == b""
    assert not backend.has_caller()


async def test_introduction_has_the_time_of_a_head(house: House) -> None:
    lb, _ = front(house, timeouts=Timeouts(head_s=0.05))
    client = await lb.client()
    await client.send(V1[:9])
    assert await client.ended()


async def test_proxy_that_leaves_inside_its_introduction_leaves_no_trace(house: House) -> None:
    lb, _ = front(house)
    client = await lb.client()
    await client.send(V1[:9])
    client.close()
    await until(lambda: lb.server.connections == 0)
    assert lb.records == []


async def test_introduction_from_a_stranger_is_no_request(house: House) -> None:
    lb, backend = front(house, trusted="192.0.2.0/24")
    client = await lb.client()
    await client.send(V1 + GET)
    assert (await client.read_message()).status in (400, 505)
    assert not backend.has_caller()


async def test_stranger_is_served_under_its_own_name(house: House) -> None:
    lb, backend = front(house, trusted="192.0.2.0/24")
    backend.answer()
    client = await lb.client()
    await client.send(GET)
    assert (await client.read_message()).status == 200
    assert backend.requests[0].values(b"x-forwarded-for") == [b"127.0.0.1"]


async def test_proxy_on_a_unix_socket_may_be_trusted(house: House, tmp_path: Path) -> None:
    backend = house.backend()
    backend.answer()
    address = UnixAddress(str(tmp_path / "lb.sock"))
    lb = house.balancer([backend], listen=[address], proxy_protocol=True, trusted_proxies=TrustedProxies(unix=True))
    client = await lb.client(address)
    await client.send(V2 + GET)
    assert (await client.read_message()).status == 200
    assert (await lb.record()).client == "203.0.113.9"


async def test_introduced_clients_are_limited_by_their_own_address(house: House) -> None:
    lb, backend = front(house, limits=Limits(connections_per_client=1))
    backend.answer()
    first, second, other = [await lb.client() for _ in range(3)]
    for client, header in ((first, V1), (second, V1), (other, proxy_protocol.write(1, *SIX))):
        await client.send(header + GET)
    assert (await first.read_message()).status == 200
    assert (await second.read_message()).status == 429
    assert (await other.read_message()).status == 200


async def test_introduction_is_taken_in_tcp_mode_and_kept_from_the_backend(house: House) -> None:
    lb, backend = front(house, mode="tcp")
    client = await lb.client()
    await client.send(V2 + b"hello")
    peer = await backend.accept()
    assert await peer.read(5) == b"hello"
    client.close()
    peer.close()
    assert (await lb.record()).client == "203.0.113.9"


# Passed on


async def connected(house: House, version: int, **config: object) -> tuple[Peer, Peer]:
    """A client whose first bytes have been sent, and the backend's end."""
    backend = house.backend()
    lb = house.balancer([backend.config("b1", send_proxy=version)], **config)
    client = await lb.client()
    await client.send(GET)
    return client, await backend.accept()


@pytest.mark.parametrize("mode", ["http", "tcp"])
async def test_backend_is_told_the_clients_ends_in_version_1(house: House, mode: str) -> None:
    client, peer = await connected(house, 1, mode=mode)
    own, front_end = client.sock.getsockname(), client.sock.getpeername()
    expected = f"PROXY TCP4 127.0.0.1 127.0.0.1 {own[1]} {front_end[1]}\r\n".encode()
    assert await peer.read(len(expected)) == expected
    assert (await peer.read_head()).start == b"GET / HTTP/1.1"


@pytest.mark.parametrize("mode", ["http", "tcp"])
async def test_backend_is_told_the_clients_ends_in_version_2(house: House, mode: str) -> None:
    client, peer = await connected(house, 2, mode=mode)
    ports = client.sock.getsockname()[1], client.sock.getpeername()[1]
    block = socket.inet_aton("127.0.0.1") * 2 + struct.pack("!HH", *ports)
    assert await peer.read(16) == b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
    assert await peer.read(12) == block
    assert (await peer.read_head()).start == b"GET / HTTP/1.1"


@pytest.mark.parametrize("mode", ["http", "tcp"])
async def test_introduction_of_a_proxy_is_passed_on_in_the_backends_version(house: House, mode: str) -> None:
    backend = house.backend()
    lb = house.balancer(
        [backend.config("b1", send_proxy=1)],
        proxy_protocol=True,
        trusted_proxies=networks("127.0.0.1/32"),
        mode=mode,
    )
    client = await lb.client()
    await client.send(V2 + GET)
    peer = await backend.accept()
    assert await peer.read(len(V1)) == V1


async def test_introduction_is_none_of_the_clients_bytes(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", send_proxy=1)], mode="tcp")
    client = await lb.client()
    await client.send(b"hello")
    peer = await backend.accept()
    await peer.read_until(b"\r\nhello")
    client.close()
    peer.close()
    assert (await lb.record()).bytes_in == 5


async def test_connection_that_was_introduced_serves_one_client_only(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", send_proxy=1)])
    for _ in range(2):
        client = await lb.client()
        await client.send(post(b"image"))
        peer = await backend.accept()
        assert (await peer.read_until(b"\r\n")).startswith(b"PROXY TCP4 127.0.0.1 ")
        await peer.read_message()
        await peer.send(OK)
        assert (await client.read_message()).status == 200
        assert await peer.ended()


async def test_client_of_a_unix_socket_has_no_ends_to_tell(house: House, tmp_path: Path) -> None:
    backend = house.backend()
    address = UnixAddress(str(tmp_path / "lb.sock"))
    lb = house.balancer([backend.config("b1", send_proxy=1)], listen=[address])
    client = await lb.client(address)
    await client.send(GET)
    assert await (await backend.accept()).read_until(b"\r\n") == b"PROXY UNKNOWN\r\n"


# X-Forwarded-*


CLAIMS = (
    b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\n"
    b"X-Forwarded-Host: www.example.org\r\nForwarded: for=198.51.100.7\r\n\r\n"
)


@pytest.mark.parametrize(
    ("trusted", "expected"),
    [
        ("127.0.0.0/8", [b"198.51.100.7, 127.0.0.1", b"https", b"www.example.org", b"for=198.51.100.7"]),
        ("192.0.2.0/24", [b"127.0.0.1", b"http", b"a"]),
    ],
)
async def test_claims_of_a_trusted_proxy_are_extended_and_others_replaced(
    house: House, trusted: str, expected: list[bytes]
) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend], trusted_proxies=networks(trusted))
    client = await lb.client()
    await client.send(CLAIMS)
    await client.read_message()
    names = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded")
    assert [value for name in names for value in backend.requests[0].values(name)] == expected


async def test_claims_are_judged_by_who_was_introduced_not_by_who_introduced(house: House) -> None:
    lb, backend = front(house)
    backend.answer()
    client = await lb.client()
    await client.send(V1 + CLAIMS)
    await client.read_message()
    assert backend.requests[0].values(b"x-forwarded-for") == [b"203.0.113.9"]


@pytest.mark.parametrize(
    ("trusted", "claimed", "asker"),
    [
        ("127.0.0.0/8", [b"203.0.113.9"], "203.0.113.9"),
        ("127.0.0.0/8", [b"10.0.0.1, 203.0.113.9"], "203.0.113.9"),  # further left stands what the client said
        ("127.0.0.0/8,10.0.0.0/8", [b"203.0.113.9", b"10.0.0.2, 10.0.0.1"], "203.0.113.9"),
        ("127.0.0.0/8,10.0.0.0/8", [b"10.0.0.2, 10.0.0.1"], "10.0.0.2"),
        ("127.0.0.0/8", [b"2001:DB8::1"], "2001:db8::1"),
        ("127.0.0.0/8", [b"unknown"], "127.0.0.1"),
        ("127.0.0.0/8", [b'fe80::1%" 200'], "127.0.0.1"),
        ("127.0.0.0/8", [], "127.0.0.1"),
        ("192.0.2.0/24", [b"203.0.113.9"], "127.0.0.1"),
    ],
)
async def test_request_is_that_of_whom_a_trusted_proxy_names(
    house: House, trusted: str, claimed: list[bytes], asker: str
) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend], trusted_proxies=networks(*trusted.split(",")))
    client = await lb.client()
    for number in range(2):  # the second one takes the express lane
        fields = b"".join(b"X-Forwarded-For: %b\r\n" % one for one in claimed)
        await client.send(GET[:-2] + fields + b"\r\n")
        assert (await client.read_message()).status == 200
        assert (await lb.record(number)).client == asker


async def test_clients_of_one_proxy_share_the_queue_fairly(house: House) -> None:
    lb = house.balancer([house.backend()], trusted_proxies=networks("127.0.0.0/8"))
    client, far = guest(lb)
    client.hop = client.hop._replace(trusted=True)
    head = RequestParser().parse(GET[:-2] + b"X-Forwarded-For: 203.0.113.9\r\n\r\n")
    assert Claim(lb.hub, client, head).key == "203.0.113.9"
    client.close()
    far.close()
