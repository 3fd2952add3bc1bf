"""Starting, stopping and failing as operators and clients see it."""

import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from e2e.conftest import StartBalancer, StartService
from e2e.processes import POLL_S, START_DEADLINE_S, Child


def refused_url() -> str:
    """A URL whose port was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}/"


def wait_for_text(path: Path, text: str) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline, f"{text!r} was not written to {path.name}"
        time.sleep(POLL_S)


def test_sigterm_lets_the_request_under_way_finish(
    start_balancer: StartBalancer, start_one: StartService, tmp_path: Path, loop_name: str
) -> None:
    journal = tmp_path / "journal"
    _, url = start_one("flask-threaded", journal=str(journal), seconds="0.3")
    balancer = start_balancer([url], "--loop", loop_name)
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(requests.post, f"{balancer.url}/", data=b"late", headers={"Job": "1"}, timeout=10)
        wait_for_text(journal, "start 1")
        balancer.signal(signal.SIGTERM)
        assert reply.result().status_code == 200
    assert balancer.wait() == 0


def test_no_service_up_is_said_in_json_after_the_queue_timeout(start_balancer: StartBalancer) -> None:
    balancer = start_balancer([refused_url(), refused_url()], "--queue-timeout", "300ms")
    reply = requests.post(f"{balancer.url}/", data=b"x", timeout=10)
    assert reply.status_code == 503
    assert int(reply.headers["Retry-After"]) >= 1
    error = reply.json()["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert error["code"] == "no_backend", "nobody is busy: nobody is there"


def test_body_over_the_limit_is_refused_and_reaches_nobody(start_balancer: StartBalancer, trio: list[str]) -> None:
    balancer = start_balancer(trio, "--body-limit", "1MiB")
    reply = requests.post(f"{balancer.url}/", data=bytes(2**20 + 1), timeout=10)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "body_too_large")


def test_port_in_use_ends_the_start_with_code_2_and_no_traceback(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        child = Child([sys.executable, "-m", "ocr_tcp_lb", "--listen", address, "--admin", "off"], tmp_path)
        assert child.wait() == 2
    said = child.stderr_path.read_text()
    assert f"cannot listen on {address}: already in use" in said
    assert "Traceback" not in said
