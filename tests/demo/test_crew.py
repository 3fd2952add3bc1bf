import os
import queue
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from bench.ports import free_port
from ocr_tcp_lb.config import BackendConfig
from ocr_tcp_lb.demo.crew import Crew, DemoError


def backends(*ports: int) -> list[BackendConfig]:
    return [BackendConfig(f"b{n}", "127.0.0.1", port, "/get_ocr") for n, port in enumerate(ports, 1)]


def crew(*ports: int, say: Callable[[str], None] = pytest.fail) -> Crew:
    return Crew(backends(*ports), say, "--headers-only")


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def ends(connection: socket.socket) -> bool:
    """Return whether the other side is gone, or goes within the time-out."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_workers_serve_inside_and_are_gone_outside() -> None:
    ports = [free_port(), free_port()]
    with crew(*ports) as workers:
        assert workers.wait_until_ready() == ("none (demo worker)", "")
        connections = [connect(port) for port in ports]
    for connection in connections:
        with connection:
            assert ends(connection)


def test_taken_port_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = f"port {port}, which worker b1 needs, is taken by another program: .*--workers-from"
        with pytest.raises(DemoError, match=told), crew(port) as workers:
            workers.wait_until_ready()


def test_worker_that_fails_at_the_start_is_named() -> None:
    failing = Crew(backends(free_port()), pytest.fail, "--no-such-option")
    with pytest.raises(DemoError, match=r"worker b1 \(port \d+\) ended: exit code 2, before it was ready"), failing:
        failing.wait_until_ready()


def test_workers_that_are_late_are_named() -> None:
    late = crew(free_port(), free_port())
    with pytest.raises(DemoError, match="not ready after 0 s: worker b"), late:
        late.wait_until_ready(timeout_s=0)


def test_worker_that_dies_is_told_and_the_others_stay() -> None:
    told: queue.Queue[str] = queue.Queue()
    ports = [free_port(), free_port()]
    with crew(*ports, say=told.put) as workers:
        workers.wait_until_ready()
        os.kill(workers.pids["b1"], signal.SIGKILL)
        line = told.get(timeout=30)
        with connect(ports[1]):
            pass
    assert line == f"worker b1 (port {ports[0]}) ended: killed by signal 9; the balancer goes on with the rest"
    assert told.empty()


OWNER = """
import sys
from ocr_tcp_lb.config import BackendConfig
from ocr_tcp_lb.demo.crew import Crew

with Crew([BackendConfig("b1", "127.0.0.1", int(sys.argv[1]), "/x")], print, "--headers-only") as crew:
    crew.wait_until_ready()
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_no_worker_outlives_its_killed_owner() -> None:
    port = free_port()
    argv = [sys.executable, "-c", OWNER, str(port)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        with connect(port) as connection:
            owner.kill()
            assert ends(connection)
