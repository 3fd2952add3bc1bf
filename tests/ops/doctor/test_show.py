"""The visit as a command: what is said where, and the exit code."""

import http.server
import os
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocr_tcp_lb.cli import main
from ocr_tcp_lb.ops.doctor import show


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/get_ocr" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_visit_tells_and_prints_a_configuration_that_checks(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--backend", f"http://127.0.0.1:{port},name=gpu"]) == 0
    out, err = capsys.readouterr()
    assert tomllib.loads(out) == {"backend": [{"url": f"http://127.0.0.1:{port}/get_ocr", "name": "gpu"}]}
    assert "  ok       reachable at" in err
    assert "With --sample" in err
    (tmp_path / "lb.toml").write_text(out)
    assert main(["check", "--config", str(tmp_path / "lb.toml")]) == 0


def test_reader_that_leaves_early_is_no_fault(port: int) -> None:
    read, write = os.pipe()
    os.close(read)
    argv = [sys.executable, "-m", "ocr_tcp_lb", "doctor", "--backend", f"http://127.0.0.1:{port}"]
    with os.fdopen(write) as nobody:
        done = subprocess.run(argv, stdout=nobody, stderr=subprocess.PIPE, text=True, timeout=30)
        assert "Traceback" not in done.stderr
        assert done.returncode == 0
        assert subprocess.run(argv, stdout=nobody, stderr=nobody, timeout=30).returncode == 0


def test_fleet_of_a_configuration_is_examined(port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lb.toml"
    file.write_text(f'admin = ":4998"\nretries = 1\n[[backend]]\nname = "gpu"\nurl = "http://127.0.0.1:{port}/"\n')
    assert main(["doctor", "--config", str(file)]) == 0
    out, err = capsys.readouterr()
    assert [one["name"] for one in tomllib.loads(out)["backend"]] == ["gpu"]
    assert f"gpu  http://127.0.0.1:{port}/" in err


def test_what_was_told_of_a_backend_is_kept(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{port}/get_ocr"
    keys = "concurrency=4,weight=2,name=gpu,max_idle=500ms,abandon=cancel"
    assert main(["doctor", "--backend", f"{url},{keys}"]) == 0
    assert tomllib.loads(capsys.readouterr().out)["backend"] == [
        {"url": url, "name": "gpu", "weight": 2.0, "concurrency": 4, "abandon": "cancel", "max-idle": "0.5s"}
    ]


def test_service_that_was_told_twice_is_printed_once(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{port}"
    assert main(["doctor", "--backend", f"{url}/get_ocr", "--backend", url]) == 0
    out, err = capsys.readouterr()
    assert [one["name"] for one in tomllib.loads(out)["backend"]] == ["b1"]
    assert f"b2 is left out: {url}/get_ocr is b1 already" in err


def test_empty_sample_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--sample", "/dev/null"]) == 2
    assert "--sample: /dev/null is empty; name an image as your clients send it" in capsys.readouterr().err


def test_fault_in_the_configuration_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "lb.toml").write_text("retires = 1\n")
    assert main(["doctor", "--config", str(tmp_path / "lb.toml")]) == 2
    assert "retires: there is no such key; did you mean retries?" in capsys.readouterr().err


def test_problem_gives_exit_code_1(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--backend", f"http://127.0.0.1:{port}/wrong"]) == 1
    assert "  PROBLEM  404 on /wrong, but /get_ocr answers" in capsys.readouterr().err


def test_sample_that_cannot_be_read_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--sample", "/none.png"]) == 2
    assert "--sample: cannot read /none.png" in capsys.readouterr().err


def test_what_a_service_says_of_itself_cannot_fool_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show._tell("HTTP/1.1, \x1b]0;pwned\x07 gunicorn")
    assert capsys.readouterr().err == "HTTP/1.1, \\x1b]0;pwned\\x07 gunicorn\n"


def test_in_tcp_mode_no_sample_is_offered(port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lb.toml"
    file.write_text(f'mode = "tcp"\n[[backend]]\nurl = "http://127.0.0.1:{port}/"\n')
    assert main(["doctor", "--config", str(file)]) == 0
    out, err = capsys.readouterr()
    assert tomllib.loads(out)["backend"] == [{"url": f"http://127.0.0.1:{port}/", "name": "b1"}]
    assert "in TCP mode nothing else is asked" in err
    assert "--sample" not in err
