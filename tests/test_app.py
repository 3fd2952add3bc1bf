"""The program as a process: it starts, says so, drains at the first signal and ends at the second."""

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocr_tcp_lb import doors
from ocr_tcp_lb.app import build_intake
from ocr_tcp_lb.config import Config, UnixAddress
from ocr_tcp_lb.ops.systemd import Activation

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PATIENCE_S = 15


@pytest.mark.parametrize("what", ["clients", "admin"])
def test_files_of_sockets_are_ours_unless_systemd_passed_these_very_ones(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "passed"))
        sock.listen()
        monkeypatch.setattr(doors, "passed_sockets", lambda: Activation(**{what: (sock,)}))
        config = Config(listen=(UnixAddress(str(tmp_path / "front")),), admin=UnixAddress(str(tmp_path / "admin")))
        opened = doors.open_doors(config)
        opened.close()
    assert (opened.owns_clients, opened.owns_admin) == (what != "clients", what != "admin")


class Program:
    """`python -m ocr_tcp_lb` on a free port."""

    def __init__(self, *options: str, listen: str = "127.0.0.1:0") -> None:
        words = [sys.executable, "-m", "ocr_tcp_lb", "--listen", listen, "--admin", "off", *options]
        words += ["--health-interval", "0"]  # the backends here accept one connection, a client's
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said: list[str] = []

    def hear(self, words: str) -> str:
        """The next line of standard error that contains these words."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if words in line:
                return line
        raise AssertionError(f"it ended without saying {words!r}: {self.said}")

    def port(self) -> int:
        """Where it listens, once it does."""
        return int(self.hear("listening on").split("127.0.0.1:")[1].split()[0].rstrip(","))

    def end(self) -> int:
        """Its exit code; what it printed meanwhile is in `output` and `said`."""
        self.output, rest = self.process.communicate(timeout=PATIENCE_S)
        self.said += rest.splitlines(keepends=True)
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def running(*options: str, listen: str = "127.0.0.1:0") -> Iterator[Program]:
    program = Program(*options, listen=listen)
    try:
        yield program
    finally:
        program.close()


@pytest.fixture
def backend() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(PATIENCE_S)
        yield sock


def url(backend: socket.socket) -> str:
    return f"http://127.0.0.1:{backend.getsockname()[1]}/get_ocr"


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def head_of(client: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(4096)
        assert piece, data
        data += piece
    return data


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_start_says_everything_and_a_drain_serves_what_is_under_way(backend: socket.socket, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with running("--backend", url(backend), "--loop", loop) as program:
        port = program.port()
        assert f"{loop} loop" in program.said[-1]
        assert url(backend) in program.hear("backend")
        with connect(port) as idle, connect(port) as busy:
            busy.sendall(GET)
            worker, _ = backend.accept()
            with worker:
                assert head_of(worker).startswith(b"GET /get_ocr HTTP/1.1\r\n")
                program.process.send_signal(signal.SIGTERM)
                program.hear("finishing what is under way")
                assert idle.recv(1) == b""
                worker.sendall(OK)
                assert b"Connection: close" in head_of(busy)
                assert program.end() == 0
    assert program.output.count("\n") == 1
    assert '"GET /" 200' in program.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_an_idle_program_well(backend: socket.socket, number: signal.Signals) -> None:
    with running("--backend", url(backend)) as program:
        program.port()
        program.process.send_signal(number)
        assert program.end() == 0
    assert "Traceback" not in "".join(program.said)


def test_drain_that_takes_too_long_ends_with_1_and_a_count(backend: socket.socket) -> None:
    with running("--backend", url(backend), "--drain-timeout", "0.1") as program, connect(program.port()) as client:
        client.sendall(GET)
        worker, _ = backend.accept()
        with worker:
            program.process.send_signal(signal.SIGTERM)
            assert program.end() == 1
    assert "1 connection was cut off" in "".join(program.said)


def test_second_signal_ends_at_once(backend: socket.socket) -> None:
    with running("--backend", url(backend)) as program, connect(program.port()) as client:
        client.sendall(GET)
        worker, _ = backend.accept()
        with worker:
            program.process.send_signal(signal.SIGTERM)
            program.hear("finishing what is under way")
            program.process.send_signal(signal.SIGINT)
            assert program.end() == 1
    assert "Traceback" not in "".join(program.said)


def test_port_in_use_is_said_in_one_line(backend: socket.socket) -> None:
    taken = f"127.0.0.1:{backend.getsockname()[1]}"
    with running("--backend", "http://127.0.0.1:1/", listen=taken) as program:
        assert program.end() == 2
    assert len(program.said) == 1
    assert f"cannot listen on {taken}: already in use" in program.said[0]


def test_unix_socket_is_removed_at_the_end(backend: socket.socket, tmp_path: Path) -> None:
    path = tmp_path / "lb.sock"
    with running("--backend", url(backend), listen=f"unix:{path}") as program:
        program.hear("listening on")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE_S)
            client.connect(str(path))
            client.sendall(GET)
            worker, _ = backend.accept()
            with worker:
                worker.sendall(OK)
                assert head_of(client).startswith(b"HTTP/1.1 200")
        program.process.send_signal(signal.SIGTERM)
        assert program.end() == 0
    assert not path.exists()


def test_running_out_of_descriptors_ends_nothing(backend: socket.socket) -> None:
    """Fewer descriptors than clients: the ones above wait in the backlog and are served when others leave."""
    script = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)); "
        "sys.argv[0] = 'ocr_tcp_lb'; runpy.run_module('ocr_tcp_lb', run_name='__main__')"
    )
    program = Program.__new__(Program)
    program.said = []
    words = [sys.executable, "-c", script, "--listen", "127.0.0.1:0", "--admin", "off", "--backend", url(backend)]
    words += ["--health-interval", "0"]
    program.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        port = program.port()
        crowd = [connect(port) for _ in range(60)]
        assert "allowed 40" in "".join(program.said)
        program.hear("cannot accept on")
        for client in crowd[1:]:
            client.close()
        with crowd[0], connect(port) as late:
            late.sendall(GET)
            worker, _ = backend.accept()
            with worker:
                worker.sendall(OK)
                assert head_of(late).startswith(b"HTTP/1.1 200")
        program.process.send_signal(signal.SIGTERM)
        assert program.end() == 0
    finally:
        program.close()


def test_reader_of_the_messages_that_stalls_keeps_nobody_waiting() -> None:
    """More lines than a pipe holds, of which the first are read."""
    many = [word for number in range(1500) for word in ("--backend", f"http://127.0.0.1:1/get_ocr/number/{number}")]
    with running(*many) as program:
        with connect(program.port()) as client:
            client.sendall(b"nonsense\r\n\r\n")
            assert head_of(client).startswith(b"HTTP/1.1 400 ")
        program.process.send_signal(signal.SIGTERM)
        assert program.end() == 0
    said = "".join(program.said)
    assert "backend b1500 http" in said
    assert "SIGTERM: finishing" in program.said[-1]


async def test_log_of_json_tells_its_losses_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as log, os.fdopen(writer, "wb") as out:
        monkeypatch.setattr(sys, "stdout", out)
        intake = build_intake(asyncio.get_running_loop(), Config(access_log="json"), is_watched=False)
        assert intake is not None
        assert intake._access_log is not None
        intake._access_log.outlet._unreported = 3
        intake.close()
        assert json.loads(log.readline())["dropped"] == 3


def test_closed_terminal_ends_it() -> None:
    """As closing a window does: the terminal hangs up, and everybody on it gets SIGHUP."""
    master, slave = pty.openpty()
    words = [sys.executable, "-m", "ocr_tcp_lb", "--listen", "127.0.0.1:0", "--admin", "off", "--health-interval", "0"]
    process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=own)
    os.close(slave)
    said = b""
    while b"listening on" not in said:
        said += os.read(master, 4096)
    os.close(master)
    assert process.wait(PATIENCE_S) == 0


def own() -> None:
    """Make standard input the controlling terminal of the new session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_hang_up_without_a_terminal_is_a_reload() -> None:
    program = Program()
    program.port()
    program.process.send_signal(signal.SIGHUP)
    program.hear("reloaded")
    program.process.terminate()
    assert program.end() == 0
