"""Processes of a run: each started as our own child on a free loopback port, and ended by its own handle."""

import json
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.peers import Peer, Place

ROOT = Path(__file__).resolve().parent.parent
START_DEADLINE_S = 15.0
END_DEADLINE_S = 10.0
LOAD_DEADLINE_S = 150.0
STARTS = 3  # another process may take a free port before the child does


class BenchError(Exception):
    """A run cannot go on; the text says why."""


def free_port() -> int:
    """A loopback port that nobody has now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def end(process: subprocess.Popen[Any]) -> None:
    """Ask it to end, then insist."""
    process.terminate()
    try:
        process.wait(END_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


class Backends:
    """The services, all in one process."""

    def __init__(self, count: int) -> None:
        command = [sys.executable, "-m", "bench.backend", str(count)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.ports: list[int] = json.loads(self._process.stdout.readline() or "[]")
        if not self.ports:
            end(self._process)
            raise BenchError("the services of the bench did not start")

    def close(self) -> None:
        """End them."""
        end(self._process)


class Balancer:
    """One running peer."""

    def __init__(self, peer: Peer, backend_ports: list[int], directory: Path, options: tuple[str, ...]) -> None:
        for attempt in range(STARTS):
            home = directory / f"{peer.name}-{attempt}"
            home.mkdir(parents=True)
            self.port = free_port()
            said = home / "output"
            with said.open("wb") as output:
                command = peer.command(Place(self.port, backend_ports, home, options))
                self._process = subprocess.Popen(
                    command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
                )
            self.pid = self._process.pid
            if self._accepts():
                return
            end(self._process)
        raise BenchError(f"{peer.title} did not start:\n{said.read_text(errors='replace')}")

    def _accepts(self) -> bool:
        deadline = time.monotonic() + START_DEADLINE_S
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            time.sleep(0.02)
        return False

    def close(self) -> None:
        """End it."""
        end(self._process)


def generate_load(workload: str, port: int, requests: int) -> dict[str, Any]:
    """Run the load generator in a process of its own; return what it saw."""
    command = [sys.executable, "-m", "bench.load", workload, str(port), str(requests)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LOAD_DEADLINE_S)
    if done.returncode:
        raise BenchError(f"the load generator failed:\n{done.stderr}")
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen
