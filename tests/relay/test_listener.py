"""Listening sockets: all or none, why not, and an accept loop that survives."""

import asyncio
import errno
import os
import socket
from pathlib import Path

import pytest

from ocr_tcp_lb.config import TcpAddress, UnixAddress
from ocr_tcp_lb.relay import listener as listener_module
from ocr_tcp_lb.relay.listener import Listener
from ocr_tcp_lb.relay.sockets import ListenError, open_listeners

from .support import LOCALHOST, Peer, open_descriptors, until


def close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def test_empty_host_listens_on_ipv4_and_ipv6_with_one_port() -> None:
    sockets = open_listeners([TcpAddress("", 0)])
    try:
        assert sockets[0].family == socket.AF_INET
        if len(sockets) == 2:  # a machine with IPv6
            assert sockets[1].family == socket.AF_INET6
            assert sockets[1].getsockname()[1] == sockets[0].getsockname()[1]
            socket.create_connection(("::1", sockets[1].getsockname()[1])).close()
        socket.create_connection(("127.0.0.1", sockets[0].getsockname()[1])).close()
    finally:
        close(sockets)


def test_port_in_use_is_explained_and_leaves_nothing_open() -> None:
    before = open_descriptors()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"127.0.0.1:{port}: already in use"):
            open_listeners([LOCALHOST, TcpAddress("127.0.0.1", port)])
    assert open_descriptors() == before


def test_port_in_use_by_ipv4_alone_is_explained_for_all_addresses() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        with pytest.raises(ListenError, match="already in use"):
            open_listeners([TcpAddress("", taken.getsockname()[1])])


def test_unknown_host_is_explained() -> None:
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1:0"):  # RFC 5737: nobody's address
        open_listeners([TcpAddress("192.0.2.1", 0)])


def test_socket_file_left_by_a_crash_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "lb.sock")
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(path)
    sockets = open_listeners([UnixAddress(path)])
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    close(sockets)


def test_socket_file_in_use_is_not_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "lb.sock")
    sockets = open_listeners([UnixAddress(path)])
    with pytest.raises(ListenError, match="already in use"):
        open_listeners([UnixAddress(path)])
    close(sockets)


def test_file_that_is_no_socket_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ListenError, match="there is something that is no socket"):
        open_listeners([UnixAddress(str(path))])
    assert path.read_text() == "data"


class Door:
    """A listener whose guests are kept in lists."""

    def __init__(self, *, room: int = 1000, sock: socket.socket | None = None) -> None:
        self.welcomed: list[tuple[socket.socket, str]] = []
        self.turned_away: list[tuple[socket.socket, str]] = []
        self.listener = Listener(
            asyncio.get_running_loop(),
            sock or open_listeners([LOCALHOST])[0],
            has_room=lambda: len(self.welcomed) < room,
            welcome=lambda sock, address: self.welcomed.append((sock, address)),
            turn_away=lambda sock, address: self.turned_away.append((sock, address)),
        )

    async def knock(self) -> Peer:
        sock = socket.socket()
        sock.setblocking(False)
        address = self.listener.address
        assert isinstance(address, TcpAddress)
        await asyncio.get_running_loop().sock_connect(sock, (address.host, address.port))
        return Peer(sock)

    def close(self) -> None:
        self.listener.close()
        self.listener.close()
        for sock, _ in (*self.welcomed, *self.turned_away):
            sock.close()


async def test_guests_are_welcomed_non_blocking_and_with_their_address() -> None:
    door = Door()
    guests = [await door.knock() for _ in range(3)]
    await until(lambda: len(door.welcomed) == 3)
    assert all(address == "127.0.0.1" and not sock.getblocking() for sock, address in door.welcomed)
    for guest in guests:
        guest.close()
    door.close()


async def test_guests_above_the_limit_are_turned_away() -> None:
    door = Door(room=2)
    guests = [await door.knock() for _ in range(3)]
    await until(lambda: len(door.turned_away) == 1)
    assert len(door.welcomed) == 2
    for guest in guests:
        guest.close()
    door.close()


class Exhausted:
    """A listening socket whose process has no descriptor left, a few times."""

    def __init__(self, sock: socket.socket, code: int, times: int) -> None:
        self._sock = sock
        self._code = code
        self.times = times
        self.asked = 0

    def accept(self) -> tuple[socket.socket, object]:
        self.asked += 1
        if self.times:
            self.times -= 1
            raise OSError(self._code, os.strerror(self._code))
        return self._sock.accept()

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_running_out_of_descriptors_is_survived_without_spinning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    monkeypatch.setattr(listener_module, "REST_S", 0.02)
    sock = Exhausted(open_listeners([LOCALHOST])[0], code, times=3)
    door = Door(sock=sock)  # type: ignore[arg-type]
    guest = await door.knock()
    await until(lambda: len(door.welcomed) == 1)
    assert sock.asked <= 5, "it rests between two tries"
    (warning,) = caplog.records
    assert warning.getMessage().startswith("cannot accept on 127.0.0.1")
    guest.close()
    door.close()


async def test_outage_that_goes_on_is_told_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener_module, "REST_S", 0.0)
    monkeypatch.setattr(listener_module, "TOLD_EVERY_S", 0.0)
    sock = Exhausted(open_listeners([LOCALHOST])[0], errno.EMFILE, times=3)
    door = Door(sock=sock)  # type: ignore[arg-type]
    guest = await door.knock()
    await until(lambda: len(door.welcomed) == 1)
    assert len(caplog.records) == 3
    guest.close()
    door.close()


async def test_listener_may_be_closed_while_it_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "REST_S", 0.02)
    sock = Exhausted(open_listeners([LOCALHOST])[0], errno.EMFILE, times=1)
    door = Door(sock=sock)  # type: ignore[arg-type]
    guest = await door.knock()
    await until(lambda: sock.asked == 1)
    door.close()
    guest.close()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EPROTO])
async def test_closing_is_done_even_if_the_backlog_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    monkeypatch.setattr(listener_module, "REST_S", 0.02)
    sock = Exhausted(open_listeners([LOCALHOST])[0], code, times=1000)
    door = Door(sock=sock)  # type: ignore[arg-type]
    address = door.listener.address
    assert isinstance(address, TcpAddress)
    guest = socket.create_connection((address.host, address.port))
    if code == errno.EMFILE:
        await until(lambda: sock.asked > 0)  # it rests
    door.close()
    asked = sock.asked
    await asyncio.sleep(0.06)
    assert sock.asked == asked, "nobody asks any more"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    guest.close()


async def test_closing_welcomes_who_stands_in_line() -> None:
    door = Door()
    address = door.listener.address
    assert isinstance(address, TcpAddress)
    guests = [socket.create_connection((address.host, address.port)) for _ in range(3)]
    door.listener.close()  # no turn of the loop since they came
    assert len(door.welcomed) == 3
    for guest in guests:
        guest.close()
    door.close()


async def test_guest_that_left_before_it_was_accepted_does_no_harm() -> None:
    sock = Exhausted(open_listeners([LOCALHOST])[0], errno.ECONNABORTED, times=1)
    door = Door(sock=sock)  # type: ignore[arg-type]
    guest = await door.knock()
    await until(lambda: len(door.welcomed) == 1)
    guest.close()
    door.close()


async def test_closing_removes_the_socket_file(tmp_path: Path) -> None:
    path = tmp_path / "lb.sock"
    door = Door(sock=open_listeners([UnixAddress(str(path))])[0])
    assert door.listener.address == UnixAddress(str(path))
    door.close()
    assert not path.exists()


def test_path_of_somebody_who_has_no_time_is_in_use(tmp_path: Path) -> None:
    """A stopped process with a full backlog: asking it must not block."""
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(path)
        taken.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(path)
        with pytest.raises(ListenError, match="already in use"):
            open_listeners([UnixAddress(path)])
        close(waiting)


async def test_file_that_took_the_place_of_ours_stays(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "socket"))
    (sock,) = open_listeners([address])
    listener = Listener(
        asyncio.get_running_loop(), sock, has_room=lambda: True, welcome=lambda *_: None, turn_away=lambda *_: None
    )
    os.rename(address.path, tmp_path / "old")
    (successor,) = open_listeners([address])
    listener.close()
    assert sorted(os.listdir(tmp_path)) == ["old", "socket"]
    successor.close()
