"""The protocols of systemd over real sockets and really passed descriptors."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocr_tcp_lb.ops.systemd import Activation, ActivationError, Notifier, passed_sockets

GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
PATIENCE_S = 20


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's end of the notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(PATIENCE_S)
        yield sock


def told(manager: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in manager.recv(4096).decode().split("\n"))


def test_each_state_is_told_as_systemd_wants_it(manager: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": manager.getsockname()}
    notifier = Notifier(environment)
    assert environment == {}, "no child may believe that it is meant"
    notifier.ready("listening on :4999")
    assert told(manager) == {"READY": "1", "STATUS": "listening on :4999"}
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    said = told(manager)
    assert said.keys() == {"RELOADING", "MONOTONIC_USEC"}
    assert before <= int(said["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.stopping("draining")
    assert told(manager) == {"STOPPING": "1", "STATUS": "draining"}
    notifier.close()


def test_same_status_is_told_once(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    for status in ("a", "a", "b"):
        notifier.say(status)
    notifier.close()
    assert [told(manager), told(manager)] == [{"STATUS": "a"}, {"STATUS": "b"}]


def test_status_that_was_told_with_a_reload_is_followed_by_the_usual_one(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.say("a")
    notifier.ready("reloaded")
    notifier.say("a")
    notifier.stopping("ending")
    notifier.say("ending")
    notifier.say("a")
    notifier.close()
    assert [told(manager)["STATUS"] for _ in range(5)] == ["a", "reloaded", "a", "ending", "a"]


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_abstract_socket_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("")  # the kernel picks an abstract name
        sock.settimeout(PATIENCE_S)
        notifier = Notifier({"NOTIFY_SOCKET": "@" + sock.getsockname()[1:].decode()})
        notifier.ready("x")
        notifier.close()
        assert told(sock)["READY"] == "1"


def test_without_systemd_nothing_happens(caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({})
    notifier.ready("x")
    notifier.close()
    assert caplog.text == ""


def test_manager_that_went_away_is_logged_and_survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notifier.ready("x")
    notifier.close()
    assert "cannot tell systemd READY=1" in caplog.text


async def test_watchdog_is_fed_by_the_loop(manager: socket.socket) -> None:
    manager.setblocking(False)
    loop = asyncio.get_running_loop()
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000"})
    notifier.feed_watchdog(loop)
    for _ in range(3):
        assert await asyncio.wait_for(loop.sock_recv(manager, 100), PATIENCE_S) == b"WATCHDOG=1"
    notifier.close()


async def test_watchdog_of_another_process_is_not_fed(manager: socket.socket) -> None:
    manager.setblocking(False)
    other = str(os.getpid() + 1)
    notifier = Notifier(
        {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000", "WATCHDOG_PID": other},
    )
    notifier.feed_watchdog(asyncio.get_running_loop())
    notifier.close()
    with pytest.raises(BlockingIOError):
        manager.recv(100)


def activation(*sockets: socket.socket, names: str = "", pid: int | None = None) -> Activation:
    """Pass sockets as systemd does: at consecutive descriptors."""
    first = 500
    for place, sock in enumerate(sockets):
        os.dup2(sock.fileno(), first + place)
    environment = {"LISTEN_PID": str(pid or os.getpid()), "LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names}
    try:
        found = passed_sockets(environment, first)
    except ActivationError:
        for place in range(len(sockets)):
            try:
                os.close(first + place)
            except OSError:
                pass
        raise
    assert environment == {}
    return found


def test_passed_sockets_are_sorted_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        found = activation(one, two, names="http:admin")
        assert [sock.getsockname() for sock in found.clients] == [one.getsockname()]
        assert [sock.getsockname() for sock in found.admin] == [two.getsockname()]
        for sock in (*found.clients, *found.admin):
            assert sock.getblocking() is False
            assert not os.get_inheritable(sock.fileno())
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            sock.close()


def test_sockets_for_another_process_are_left_alone() -> None:
    environment = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1"}
    assert passed_sockets(environment) == Activation()


def test_no_activation_gives_nothing() -> None:
    assert passed_sockets({}) == Activation()


def test_socket_that_does_not_listen_is_refused() -> None:
    with socket.socket() as sock, pytest.raises(ActivationError, match="not listening"):
        activation(sock)


def test_descriptor_that_is_no_socket_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(ActivationError, match="no socket"):
        activation(file)  # type: ignore[arg-type]


# Plays systemd: puts two listening sockets at descriptors 3 and 4, then becomes the balancer.
STARTER = """
import fcntl, os, sys
fds = [int(word) for word in sys.argv[1].split(",")]
aside = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in fds]
for place, fd in enumerate(aside):
    os.dup2(fd, 3 + place)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": "http:admin"}
os.execv(sys.executable, [sys.executable, "-m", "ocr_tcp_lb", *sys.argv[2:]])
"""


def test_whole_life_under_a_service_manager_refuses_no_connection(manager: socket.socket) -> None:
    """Started with its sockets, ready, watched, stopped; a client that connects meanwhile waits for the successor."""
    with socket.create_server(("127.0.0.1", 0)) as front, socket.create_server(("127.0.0.1", 0)) as admin:
        passed = (front.fileno(), admin.fileno())
        words = [sys.executable, "-c", STARTER, ",".join(map(str, passed))]
        words += ["--backend", "http://127.0.0.1:1/", "--queue-timeout", "50ms", "--access-log", "off"]
        environment = {**os.environ, "NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "200000"}

        def start() -> subprocess.Popen[bytes]:
            process = subprocess.Popen(words, pass_fds=passed, env=environment, stderr=subprocess.PIPE)
            assert until_told(manager, "READY")["STATUS"].startswith("listening on 127.0.0.1:")
            return process

        first = start()
        assert ask(admin, b"/healthz").startswith(b"HTTP/1.1 200")
        assert ask(front).startswith(b"HTTP/1.1 503")
        until_told(manager, "WATCHDOG")
        first.terminate()
        until_told(manager, "STOPPING")
        said = first.communicate(timeout=PATIENCE_S)[1].decode()
        assert first.returncode == 0
        assert "sockets from systemd" in said
        with socket.create_connection(front.getsockname(), timeout=PATIENCE_S) as early:
            early.sendall(GET)
            second = start()
            assert early.recv(100).startswith(b"HTTP/1.1 503")
        second.terminate()
        second.communicate(timeout=PATIENCE_S)
        assert second.returncode == 0


def until_told(manager: socket.socket, what: str) -> dict[str, str]:
    while what not in (said := told(manager)):
        pass
    return said


def ask(listening: socket.socket, path: bytes = b"/") -> bytes:
    with socket.create_connection(listening.getsockname(), timeout=PATIENCE_S) as client:
        client.sendall(GET.replace(b"/ ", path + b" ", 1).replace(b"Host: a", b"Host: localhost"))
        data = b""
        while piece := client.recv(4096):
            data += piece
        return data
