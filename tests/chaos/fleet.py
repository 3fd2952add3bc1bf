"""The processes of the chaos test: workers on ports that stay theirs, and the balancer before them."""

import asyncio
import json
import re
import signal
import socket
import sys
import time
from pathlib import Path

from e2e.processes import Child

from ocr_tcp_lb.config import UnixAddress
from ocr_tcp_lb.ops.admin.caller import call

from .books import Break, Entry

WORKER = str(Path(__file__).with_name("worker.py"))
SLOTS = 4
RESPONSE_TIMEOUT_S = 30
GHOSTS_END_S = RESPONSE_TIMEOUT_S + 5.0  # those of clients that left
ADMIN_S = 10.0


class Worker:
    """One worker process, which may be killed and started again."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.journal = directory / f"{name}.journal"
        self.mode_file = directory / f"{name}.mode"
        self.behave("ok")
        self.journal.touch()
        self._reserved = socket.socket()  # bound, never listening: while the worker is down, connecting is refused
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port = self._reserved.getsockname()[1]
        self._starts = 0
        self.breaks: list[Break] = []
        self._child: Child | None = None

    def behave(self, mode: str) -> None:
        """From the next request on."""
        fresh = self.mode_file.with_suffix(".new")
        fresh.write_text(mode)
        fresh.replace(self.mode_file)  # nobody reads half a word

    def start(self) -> None:
        """Run it, and return when it serves."""
        self._starts += 1
        words = [sys.executable, WORKER, self.name, str(self.port), str(self.journal), str(self.mode_file)]
        self._child = Child(words, self.directory / f"{self.name}-{self._starts}")
        self._child.wait_for("serving")

    def kill(self) -> None:
        """SIGKILL."""
        assert self._child is not None
        earliest = time.time()
        self._child.end(signal.SIGKILL)
        self.breaks.append(Break(self.name, earliest, time.time()))

    def refuse(self) -> None:
        """Accept no connections any more; what stands in line to be accepted is lost."""
        earliest = time.time()
        self._tell(signal.SIGUSR1, "refusing")
        self.breaks.append(Break(self.name, earliest, time.time()))

    def accept(self) -> None:
        """Undo `refuse`."""
        self._tell(signal.SIGUSR2, "serving")

    def _tell(self, number: int, answer: str) -> None:
        """Send a signal and wait until the worker says that it has followed."""
        assert self._child is not None
        said = len(re.findall(answer, self._child.stderr_path.read_text()))
        self._child.signal(number)
        self._child.wait_for(f"(?s)(?:{answer}.*){{{said + 1}}}")

    def signal(self, number: int) -> None:
        """SIGSTOP, SIGCONT."""
        assert self._child is not None
        self._child.signal(number)

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self._child is not None:
            self._child.end(signal.SIGKILL)
        self._reserved.close()


class Balancer:
    """The balancer with a configuration file that can be changed."""

    def __init__(self, directory: Path, workers: list[Worker], *settings: str) -> None:
        """Start it; `settings` are lines of its file."""
        self._file = directory / "lb.toml"
        self._settings = settings
        self.admin = UnixAddress(str(directory / "admin"))
        self.configure(workers)
        words = [sys.executable, "-m", "ocr_tcp_lb", "--config", str(self._file), "--listen", "127.0.0.1:0"]
        words += ["--access-log", "json", "--admin", str(self.admin)]
        self.process = Child(words, directory / "balancer")
        self.port = int(self.process.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1])

    def configure(self, workers: list[Worker]) -> None:
        """Write the file; nothing reads it until a reload."""
        # A stopped worker goes on after so many answers. If all others are ejected for errors, none come for 10 s.
        lines = ["queue_size = 500", "queue_timeout = 60", f"response_timeout = {RESPONSE_TIMEOUT_S}"]
        lines.append('health_interval = "200ms"')
        lines += self._settings
        for worker in workers:
            url = f"http://127.0.0.1:{worker.port}/"
            lines += ["[[backend]]", f'url = "{url}"', f'name = "{worker.name}"', f"concurrency = {SLOTS}"]
        self._file.write_text("\n".join(lines))

    def control(self, *words: str) -> str:
        """Say it to the admin listener."""
        return call(self.admin, "", words)

    async def metrics(self) -> dict[str, float]:
        """The samples of its metrics page, by name and labels."""
        async with asyncio.timeout(ADMIN_S):
            reader, writer = await asyncio.open_unix_connection(self.admin.path)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
            writer.close()
        assert head.startswith("HTTP/1.1 200"), head
        return {name: float(value) for name, value in re.findall(r"^([a-z]\S*) (\S+)$", body, re.MULTILINE)}

    async def rested(self) -> dict[str, float]:
        """The metrics once no slot is taken: workers still compute for clients that have left."""
        deadline = time.monotonic() + GHOSTS_END_S
        while True:
            metrics = await self.metrics()
            taken = {name: n for name, n in metrics.items() if name.startswith("ocr_tcp_lb_backend_in_flight{") and n}
            if not taken:
                return metrics
            assert time.monotonic() < deadline, f"slots are still taken: {taken}"

    def end(self) -> list[Entry]:
        """Have it finish; returns its access log."""
        assert self.process.end() == 0
        assert "Traceback" not in self.process.stderr_path.read_text()
        return [Entry.of(json.loads(line)) for line in self.process.stdout_path.read_text().splitlines()]

    def close(self) -> None:
        """End it, whatever state it is in."""
        self.process.end(signal.SIGKILL)
