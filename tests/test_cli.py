import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import ocr_tcp_lb
from bench.ports import free_port
from ocr_tcp_lb import app
from ocr_tcp_lb.cli import COMMANDS, main
from ocr_tcp_lb.config import Address, Config
from ocr_tcp_lb.settings import options

Ran = list[Config]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Replace the balancer by a list of what it was asked to run."""
    configs: Ran = []

    def run(
        config: Config,
        on_ready: Callable[[Sequence[Address]], None] | None = None,
        load: Callable[[], Config] | None = None,
    ) -> int:
        configs.append(config)
        return 0

    monkeypatch.setattr(app, "run", run)
    return configs


@pytest.mark.parametrize("argv", [[], ["run"], ["run", "--retries", "3"], ["--retries", "3"]])
def test_run_may_be_left_out(ran: Ran, argv: list[str]) -> None:
    assert main(argv) == 0
    assert ran == [options.load([word for word in argv if word != "run"])]


def test_exit_code_of_the_run_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "run", lambda config, **more: 1)
    assert main([]) == 1


def test_faults_go_to_standard_error_one_a_line(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--retries", "x", "--policy", "quee"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "ocr-tcp-lb: the configuration has 2 faults:",
        "  --retries: 'x' is not a whole number; write a whole number from 0 to 100",
        "  --policy: 'quee' is not known here; did you mean queue?",
    ]
    assert not ran


def test_start_that_fails_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(config: Config, **more: object) -> int:
        raise app.StartError("port 4999 is taken")

    monkeypatch.setattr(app, "run", run)
    assert main([]) == 2
    assert capsys.readouterr().err == "ocr-tcp-lb: port 4999 is taken\n"


def test_interrupted_start_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(config: Config, **more: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "run", run)
    assert main([]) == 130
    assert capsys.readouterr().err == ""


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chekc"]) == 2
    assert "there is no command 'chekc'; did you mean check?" in capsys.readouterr().err


@pytest.mark.parametrize(("word", "right"), [("lb.toml", "--config lb.toml"), ("http://a", "--backend http://a")])
def test_value_in_place_of_a_command_is_told_its_option(
    word: str, right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word]) == 2
    assert capsys.readouterr().err == f"ocr-tcp-lb: there is no command {word!r}; write {right}\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ocr-tcp-lb {ocr_tcp_lb.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command: str, ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: ocr-tcp-lb ")
    assert ("--backend URL" if command == "doctor" else "--admin ADDRESS") in text
    assert not ran


def test_help_of_the_program_is_that_of_run_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-h"]) == 0
    text = capsys.readouterr().out
    assert "ocr-tcp-lb --listen :4999 --backend http://127.0.0.1:5000/get_ocr" in text
    for command in COMMANDS:
        assert f"\n  {command} " in text


def test_check_prints_a_file_that_checks_to_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lb.toml"
    assert main(["check", "--policy", "p2c", "--backend", "http://[::1]:5000/x,concurrency=4,name=gpu"]) == 0
    first = capsys.readouterr().out
    file.write_text(first)
    assert main(["check", "--config", str(file)]) == 0
    assert capsys.readouterr().out == first
    assert 'url = "http://[::1]:5000/x"' in first


def test_control_without_a_word_lists_its_commands_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["control"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "ocr-tcp-lb: control what? Write one of"
    assert lines[1] == "  control drain NAME              give a backend nothing more; what it has runs on"
    assert lines[-1] == "  control reload                  read the configuration again, as SIGHUP does"


def test_misspelt_control_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["control", "drian", "b1"]) == 2
    assert capsys.readouterr().err == "ocr-tcp-lb: control knows no 'drian'; did you mean drain?\n"


@pytest.mark.parametrize("argv", [["--help"], ["check"]])
def test_reader_that_leaves_early_is_no_fault(argv: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as stdout:
        done = subprocess.run(program(*argv), stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_disk_that_is_full_is_told_without_a_traceback() -> None:
    with open("/dev/full", "w", encoding="ascii") as stdout:
        done = subprocess.run(program("check"), stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (2, "ocr-tcp-lb: cannot write the output: No space left on device\n")


def program(*argv: str) -> list[str]:
    return [sys.executable, "-m", "ocr_tcp_lb", *argv]


def test_faulty_file_is_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "lb.toml").write_text("listen = :4999\n")
    argv = program("check", "--config", str(tmp_path / "lb.toml"), "--loop", "uvlop")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "lb.toml: line 1: this is not TOML" in done.stderr
    assert "--loop: 'uvlop' is not known here; did you mean uvloop?" in done.stderr
    assert "Traceback" not in done.stderr


def test_port_in_use_is_told_without_a_traceback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "{}:{}".format(*taken.getsockname())
        words = program("--listen", address, "--admin", "off")
        done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert done.stderr.startswith("ocr-tcp-lb: ")
    assert address in done.stderr
    assert "Traceback" not in done.stderr


def test_balancer_of_another_version_is_told_without_a_traceback() -> None:
    body = b'{"version": "0", "backends": [{}], "x": "\\u001b"}'
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            client, _ = other.accept()
            with client:
                client.recv(1000)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

        answering = threading.Thread(target=answer)
        answering.start()
        address = "{}:{}".format(*other.getsockname())
        done = subprocess.run(program("status", "--admin", address), capture_output=True, text=True, timeout=30)
        answering.join()
    said = f"ocr-tcp-lb: {address} is not the admin address of a balancer of this version ({ocr_tcp_lb.__version__})\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_run_with_0(number: signal.Signals) -> None:
    argv = program("--listen", "127.0.0.1:0", "--admin", "off")
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "listening on 127.0.0.1:" in line:
                break
        # The line comes before the last backend's; all signal handlers are in place by then.
        os.kill(process.pid, number)
        rest = process.stderr.read()
        assert process.wait(timeout=30) == 0
        assert "Traceback" not in rest


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_fault(closed: str) -> None:
    """And no socket gets their numbers, to which messages would then go."""
    port = free_port()
    words = f"{sys.executable} -m ocr_tcp_lb --listen 127.0.0.1:{port} --admin off --backend http://127.0.0.1:1"
    process = subprocess.Popen(f"exec {words} --queue-timeout 10ms {closed}", shell=True, stderr=subprocess.DEVNULL)
    try:
        reply = b""
        deadline = time.monotonic() + 15
        while not reply.startswith(b"HTTP/1.1 503 "):
            assert process.poll() is None, "it ended"
            assert time.monotonic() < deadline
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    reply = client.recv(1000)
            except ConnectionError:
                continue
    finally:
        process.terminate()
        assert process.wait(15) == 0
