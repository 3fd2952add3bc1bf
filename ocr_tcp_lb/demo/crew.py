"""The demo's worker processes: started together, waited for, watched, and ended with their owner.

`Crew` is a context manager: entering starts one process a backend, leaving ends them all. Each worker
holds the read end of a pipe and ends when the pipe does, so that none outlives this process even if it is
killed. A thread a worker waits for its ready line and then for its end, and says so when it ends early.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from ocr_tcp_lb.config import BackendConfig
from ocr_tcp_lb.demo.worker import PORT_TAKEN
from ocr_tcp_lb.errors import LoadBalancerError

READY_TIMEOUT_S = 120.0  # loading three sets of models from a cold disk on a small machine
_END_TIMEOUT_S = 5.0


class DemoError(LoadBalancerError):
    """The demo cannot start; the message says which worker is to blame and what to do."""


class _Process:
    """One worker's process, and what its ready line said (None until then)."""

    def __init__(self, backend: BackendConfig, command: Sequence[str]) -> None:
        self.backend = backend
        self.ready: dict[str, str] | None = None
        # A session of its own: Ctrl-C in the terminal reaches only the balancer, which drains first.
        self.popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0
        )

    def __repr__(self) -> str:
        return f"<worker {self.backend.name} port {self.backend.port} pid {self.popen.pid}>"


class Crew:
    """The workers behind `backends`; `say` prints one line for the operator, from any thread."""

    def __init__(self, backends: Sequence[BackendConfig], say: Callable[[str], None], *options: str) -> None:
        """Prepare; `options` are passed on to every worker."""
        self._backends = tuple(backends)
        self._say = say
        self._options = options
        self._processes: list[_Process] = []
        self._watchers: list[threading.Thread] = []
        self._events: queue.SimpleQueue[_Process] = queue.SimpleQueue()  # became ready, or ended before
        self._is_ending = False

    def __enter__(self) -> Self:
        for backend in self._backends:
            process = _Process(backend, self._command(backend))
            self._processes.append(process)
            watcher = threading.Thread(target=self._watch, args=(process,), daemon=True)
            self._watchers.append(watcher)
            watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_ending = True
        for process in self._processes:
            if process.popen.stdin:
                process.popen.stdin.close()
        deadline = time.monotonic() + _END_TIMEOUT_S
        for process, watcher in zip(self._processes, self._watchers, strict=True):
            watcher.join(max(0.0, deadline - time.monotonic()))
            if watcher.is_alive():
                process.popen.kill()
                watcher.join()

    def _command(self, backend: BackendConfig) -> list[str]:
        threads = max(1, (os.cpu_count() or 1) // len(self._backends))
        own = ["--port", str(backend.port), "--path", backend.path, "--name", backend.name]
        shared = ["--threads", str(threads), "--until-stdin-ends", *self._options]
        return [sys.executable, "-m", "ocr_tcp_lb.demo.worker", *own, *shared]

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each worker, by its name."""
        return {process.backend.name: process.popen.pid for process in self._processes}

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> tuple[str, str]:
        """Return the workers' recognizer and note once all are ready; raise `DemoError` if one fails."""
        deadline = time.monotonic() + timeout_s
        ready: dict[str, str] = {}
        for _ in self._processes:
            try:
                process = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                late = [p.backend.name for p in self._processes if p.ready is None]
                raise DemoError(f"not ready after {timeout_s:g} s: worker {', '.join(late)}") from None
            if process.ready is None:
                raise DemoError(_why_it_ended(process))
            ready = process.ready
        return ready.get("recognizer", ""), ready.get("note", "")

    def _watch(self, process: _Process) -> None:
        assert process.popen.stdout is not None
        with process.popen.stdout as lines:
            for line in lines:
                if process.ready is None and line.startswith(b"{"):
                    process.ready = json.loads(line)
                    self._events.put(process)
        code = process.popen.wait()
        if process.ready is None:
            self._events.put(process)
        elif not self._is_ending:
            self._say(f"{_ending(process, code)}; the balancer goes on with the rest")


def _why_it_ended(process: _Process) -> str:
    port = process.backend.port
    if process.popen.returncode == PORT_TAKEN:
        return (
            f"port {port}, which worker {process.backend.name} needs, is taken by another program: "
            f"end that one, or choose other ports with --workers-from {port + 1000 if port < 60000 else 5000}"
        )
    return f"{_ending(process, process.popen.returncode)}, before it was ready; its own words are above"


def _ending(process: _Process, code: int | None) -> str:
    how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    return f"worker {process.backend.name} (port {process.backend.port}) ended: {how}"
