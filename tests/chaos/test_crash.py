"""The balancer is killed with SIGKILL and started again with the same listening socket, as systemd does it."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.processes import Child

from .fleet import Worker

PROMISED_S = 1.0  # from the start of the process to the first request served
STARTS = 3.0  # or so many times what the interpreter takes to import the program, on a machine that is busy
RESTARTS = 3  # the best of them counts
WAITING = 20  # clients that come while there is no balancer
PATIENCE_S = 20.0
# Puts the listening socket at descriptor 3, as sd_listen_fds(3) says, and becomes the balancer.
STARTER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.executable, [sys.executable, "-m", "ocr_tcp_lb", *sys.argv[2:]])
"""


class Supervisor:
    """Plays systemd: has the listening socket, starts the balancer with it, sees it die."""

    def __init__(self, directory: Path, workers: list[Worker]) -> None:
        self._directory = directory
        self._front = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._front.set_inheritable(True)
        self._lives: list[Child] = []
        self._words = [sys.executable, "-c", STARTER, str(self._front.fileno()), "--access-log", "json"]
        self._words += ["--admin", "off"]
        for worker in workers:
            self._words += ["--backend", f"http://127.0.0.1:{worker.port}/,name={worker.name},concurrency=4"]
        self._words[-1] += ",health=/never-answered"  # the verdict on one must not keep the others waiting

    def start(self) -> None:
        """Start it, and do not wait."""
        fd = self._front.fileno()
        self._lives.append(Child(self._words, self._directory / f"life{len(self._lives)}", pass_fds=(fd,)))

    def kill(self) -> None:
        """SIGKILL."""
        self._lives[-1].end(signal.SIGKILL)

    def client(self, job: str, method: str = "POST") -> socket.socket:
        """A client that has sent its request."""
        sock = socket.create_connection(self._front.getsockname(), PATIENCE_S)
        sock.sendall(f"{method} / HTTP/1.1\r\nHost: a\r\nX-Request-Id: {job}\r\nContent-Length: 0\r\n\r\n".encode())
        return sock

    def log(self) -> dict[str, dict[str, object]]:
        """The access log of the last life, by request id."""
        lines = map(json.loads, self._lives[-1].stdout_path.read_text().splitlines())
        return {str(line["id"]): line for line in lines}

    def end(self) -> int:
        """Stop it; the exit code."""
        return self._lives[-1].end()

    def close(self) -> None:
        for life in self._lives:
            life.end(signal.SIGKILL)
        self._front.close()


@pytest.fixture
def supervisor(tmp_path: Path, workers: list[Worker]) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path, workers)
    try:
        yield supervisor
    finally:
        supervisor.close()


def status_of(sock: socket.socket) -> int:
    """The status of the reply; 0: the connection ended without one."""
    with sock:
        try:
            reply = sock.recv(4096)
        except ConnectionError:
            return 0
    return int(reply.split(b" ")[1]) if reply else 0


def runs(workers: list[Worker], job: str) -> int:
    return sum(f"start {job} " in worker.journal.read_text() for worker in workers)


def import_s() -> float:
    """How long this machine takes now to start an interpreter with the program; 0.3 s if it has nothing else to do."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import ocr_tcp_lb.app"], check=True, timeout=PATIENCE_S)
    return time.monotonic() - began


def test_killed_balancer_is_back_within_a_second_and_serves_who_came_meanwhile(
    workers: list[Worker], supervisor: Supervisor
) -> None:
    supervisor.start()
    assert status_of(supervisor.client("first")) == 200
    took_s = []
    for life in range(RESTARTS):
        for worker in workers:
            worker.behave("slow")
        caught = supervisor.client(f"caught{life}")
        while not runs(workers, f"caught{life}"):
            time.sleep(0.001)  # polls another process
        supervisor.kill()
        assert status_of(caught) == 0, "its connection is closed: it cannot know whether its request was done"
        for worker in workers:
            worker.behave("ok")
        waiting = [supervisor.client(f"waiting{life}-{number}") for number in range(WAITING)]
        started = time.monotonic()
        supervisor.start()
        assert status_of(waiting[0]) == 200
        took_s.append(time.monotonic() - started)
        assert [status_of(sock) for sock in waiting[1:]] == [200] * (WAITING - 1)
    print(f"back after {', '.join(f'{one:.2f}' for one in took_s)} s")
    assert min(took_s) < max(PROMISED_S, STARTS * import_s())
    assert supervisor.end() == 0
    log = supervisor.log()
    for number in range(WAITING):
        job = f"waiting{RESTARTS - 1}-{number}"
        assert log[job]["status"] == 200
        assert runs(workers, job) == 1
    for life in range(RESTARTS):
        assert runs(workers, f"caught{life}") == 1, "and nobody runs it again"
        assert f"caught{life}" not in log
