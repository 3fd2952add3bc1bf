"""Nothing is paced that stays on this machine."""

import socket

import pytest

from ocr_tcp_lb.relay import pacing
from ocr_tcp_lb.relay.pacing import is_loopback, is_paced_by_default, unpace

from .support import GET, House, replaces_a_part

pytestmark = pytest.mark.skipif(not hasattr(socket, "TCP_CONGESTION"), reason="this platform has no choice of them")


def control_of(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1"])
def test_loopback(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["10.0.0.1", "::2", "::11", "128.0.0.1", "unix", "", "fe80::1", "1.127.0.0"])
def test_not_loopback(address: str) -> None:
    assert not is_loopback(address)


def test_default_is_that_of_this_machine() -> None:
    with socket.socket() as sock:
        assert is_paced_by_default() == control_of(sock).startswith(b"bbr")


@replaces_a_part
def test_nothing_is_changed_where_the_kernel_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "_OPTION", 12345)
    assert not is_paced_by_default.__wrapped__()


@pytest.mark.parametrize(("peer", "paces", "is_changed"), [
    ("127.0.0.1", True, True), ("192.0.2.1", True, False), ("127.0.0.1", False, False),
])  # fmt: skip
def test_socket_is_changed_only_where_it_would_pace_in_vain(
    monkeypatch: pytest.MonkeyPatch, peer: str, paces: bool, is_changed: bool
) -> None:
    monkeypatch.setattr(pacing, "is_paced_by_default", lambda: paces)
    with socket.socket() as sock:
        before = control_of(sock)
        unpace(sock, peer)
        assert control_of(sock) == (b"reno" if is_changed else before)


def test_socket_that_has_no_such_thing_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "is_paced_by_default", lambda: True)
    with socket.socket(socket.AF_UNIX) as sock:
        unpace(sock, "127.0.0.1")


@replaces_a_part
async def test_both_sides_of_a_request_on_this_machine_are_not_paced(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "is_paced_by_default", lambda: True)
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(GET)
    assert (await client.read_message()).status == 200
    (near,) = lb.server._clients
    (idle,) = lb.upstream("b1")._idle
    assert control_of(near.channel.sock) == control_of(idle.channel.sock) == b"reno"
