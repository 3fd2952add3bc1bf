"""Processes of a run: each started as our own child on a free loopback port, and ended by its own handle."""

import json
import resource
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from bench import peers
from bench.load import DEADLINE_S, Order
from bench.peers import Peer, Place
from bench.ports import free_port

ROOT = peers.ROOT
START_DEADLINE_S = 15.0
END_DEADLINE_S = 10.0
LOAD_DEADLINE_S = DEADLINE_S + 10
STARTS = 3  # another process may take a free port before the child does
TOLD_BYTES = 2000  # of the last words of a process that died


class BenchError(Exception):
    """A run cannot go on; the text says why."""


def raise_descriptor_limit() -> int:
    """Let this process and its children open as many files as the system allows; return how many that is."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def end(process: subprocess.Popen[Any]) -> None:
    """Ask it to end, then insist."""
    process.terminate()
    try:
        process.wait(END_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


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

    def __init__(self, peer: Peer, backend_ports: Sequence[int], home: Path, place: dict[str, Any]) -> None:
        """Start it; `place` has what a `Place` has beside its port, its services and its directory."""
        self._peer = peer
        for attempt in range(STARTS):
            directory = home / str(attempt)
            directory.mkdir(parents=True)
            self.port = free_port()
            self._said = directory / "output"
            with self._said.open("wb") as output:
                command = peer.command(Place(self.port, backend_ports, directory, **place))
                self._process = subprocess.Popen(
                    command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
                )
            self.pid = self._process.pid
            if self._accepts():
                return
            end(self._process)
        raise BenchError(f"{peer.title} did not start: {self._last_words()}")

    def _accepts(self) -> bool:
        deadline = time.monotonic() + START_DEADLINE_S
        while self._process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            time.sleep(0.02)
        return False

    def _last_words(self) -> str:
        with self._said.open("rb") as said:
            said.seek(max(0, self._said.stat().st_size - TOLD_BYTES))
            return said.read().decode(errors="replace").strip() or "without a word"

    def check(self, patience_s: float) -> None:
        """Raise BenchError if it has ended, or ends within so long."""
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(patience_s)
            raise BenchError(f"{self._peer.title} died with code {code}: {self._last_words()}")

    def close(self) -> None:
        """End it."""
        end(self._process)


class Load:
    """The load generator with its connections open, ready to send."""

    def __init__(self, order: Order) -> None:
        command = [sys.executable, "-m", "bench.load", json.dumps(asdict(order))]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        try:
            self._hear()
        except BaseException:
            end(self._process)
            raise

    def send(self) -> dict[str, Any]:
        """Have it send everything; return what it saw."""
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):  # `_hear` says why
            stdin.write("\n")
            stdin.flush()
        seen: dict[str, Any] = json.loads(self._hear())
        return seen

    def _hear(self) -> str:
        stdout, stderr = self._process.stdout, self._process.stderr
        assert stdout is not None
        assert stderr is not None
        line = stdout.readline() if _is_readable(stdout) else ""
        if line:
            return line
        self._process.kill()
        said = stderr.read().strip().splitlines()
        raise BenchError(f"the load generator failed: {said[-1] if said else 'it does not answer'}")

    def close(self) -> None:
        """Close its connections, and it."""
        end(self._process)


def _is_readable(pipe: IO[str]) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        return bool(selector.select(LOAD_DEADLINE_S))
