"""The admin listener as part of the program: where it may listen, what it needs for that, and what is said."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocr_tcp_lb.config import TcpAddress, UnixAddress, is_local
from ocr_tcp_lb.ops.admin.gate import AdminError
from ocr_tcp_lb.ops.admin.listener import demand_token
from ocr_tcp_lb.settings import options
from ocr_tcp_lb.settings.faults import ConfigError
from ocr_tcp_lb.settings.table import options_of

TOKEN = "0123456789abcdef0123"
PATIENCE_S = 20


@contextlib.contextmanager
def program(*words: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "ocr_tcp_lb", "--listen", "127.0.0.1:0", "--backend", "http://127.0.0.1:1/"]
    argv += ["--health-interval", "0", *words]  # nobody is there, and that is not to matter
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
            process.communicate(timeout=PATIENCE_S)


def page_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"status page, metrics and control: (\S+)", line):
            return found[1]
    raise AssertionError("it ended without a word of the status page")


def status_of(url: str, **fields: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=fields), timeout=PATIENCE_S) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_page_is_announced_and_served_until_the_end() -> None:
    with program("--admin", "127.0.0.1:0") as process:
        url = page_of(process)
        assert status_of(url) == status_of(f"{url}readyz") == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_S) == 0


def test_token_is_asked_for_where_there_is_one(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    with program("--admin", "0.0.0.0:0", "--admin-token-file", str(file)) as process:
        url = page_of(process)
        assert status_of(url) == 401
        assert status_of(url, Authorization=f"Bearer {TOKEN}") == 200
        assert status_of(f"{url}healthz") == 200


def test_unix_socket_serves_and_its_file_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with program("--admin", f"unix:{path}") as process:
        assert page_of(process) == f"unix:{path}"
        command = [sys.executable, "-m", "ocr_tcp_lb", "status", "--admin", f"unix:{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert (done.returncode, done.stderr) == (0, "")
        assert "ready" in done.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_S) == 0
    assert not path.exists()


def test_taken_address_ends_the_start_with_2_and_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "{}:{}".format(*taken.getsockname())
        with program("--admin", address) as process:
            _, said = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 2
    assert said.count("\n") == 1
    assert f"cannot listen on {address} for the status page: Address already in use; choose another --admin" in said


@pytest.mark.parametrize("address", [":4998", "0.0.0.0:4998", "10.1.2.3:4998", "lb.example:4998", "[::]:4998"])
def test_address_that_others_reach_needs_a_token(address: str) -> None:
    with pytest.raises(ConfigError, match="--admin-token-file FILE"):
        options.load(["--admin", address])
    assert options.load(["--admin", address, "--admin-token-file", "x"]).admin is not None


@pytest.mark.parametrize("address", ["127.0.0.1:4998", "[::1]:1", "localhost:1", "unix:/run/x", "off"])
def test_address_of_this_machine_needs_none(address: str) -> None:
    options.load(["--admin", address])


@pytest.mark.parametrize("command", ["status", "control"])
def test_who_only_calls_may_call_any_address(command: str) -> None:
    assert options.load(["--admin", ":4998"], command).admin == TcpAddress("", 4998)
    assert options.load(["--admin", "lb.example:4998"], command).admin == TcpAddress("lb.example", 4998)


@pytest.mark.parametrize("command", ["run", "check", "demo"])
def test_who_listens_where_others_reach_it_needs_a_token(command: str) -> None:
    with pytest.raises(ConfigError, match="--admin-token-file FILE"):
        options.load(["--admin", ":0"], command)


def test_any_free_port_is_asked_for_as_the_help_says() -> None:
    help_of_admin = options_of("run")["admin"].help
    options.load(["--admin", help_of_admin.rpartition("; ")[2].split()[0]])


def test_passed_socket_that_others_reach_needs_a_token() -> None:
    with socket.create_server(("0.0.0.0", 0)) as sock:
        demand_token([sock], TOKEN)
        with pytest.raises(AdminError, match="--admin-token-file FILE"):
            demand_token([sock], "")


def test_local_addresses_are_known() -> None:
    assert is_local(UnixAddress("/x"))
    assert is_local(TcpAddress("127.9.9.9", 1))
    assert not is_local(TcpAddress("", 1))


def test_status_without_a_balancer_is_told() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = "{}:{}".format(*sock.getsockname())
        command = [sys.executable, "-m", "ocr_tcp_lb", "status", "--admin", address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert done.stderr == f"ocr-tcp-lb: cannot reach a balancer at {address}: Connection refused; name its --admin\n"
