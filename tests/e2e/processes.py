"""Child processes for the tests: started, waited for until they say where they listen, ended by their own handle.

Each child writes to two files in its own directory, so nothing blocks on a full pipe and a failed test can show
what the child had said.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVICES = Path(__file__).resolve().parent / "services"
START_DEADLINE_S = 20.0  # generous: a loaded CI machine imports Flask slowly
END_DEADLINE_S = 10.0
POLL_S = 0.01


class Child:
    """One running process."""

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        env: Mapping[str, str] | None = None,
        *,
        pass_fds: Sequence[int] = (),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.stdout_path = directory / "stdout"
        self.stderr_path = directory / "stderr"
        with self.stdout_path.open("wb") as out, self.stderr_path.open("wb") as err:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                pass_fds=pass_fds,
            )
        self.pid = self._process.pid

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match on standard error; fails when the child ends, or does not say it in time."""
        deadline = time.monotonic() + START_DEADLINE_S
        while True:
            code = self._process.poll()
            said = self.stderr_path.read_text(errors="replace")
            if match := re.search(pattern, said):
                return match
            assert code is None, f"ended with {code}, having said:\n{said}"
            assert time.monotonic() < deadline, f"did not say {pattern!r}, but:\n{said}"
            time.sleep(POLL_S)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait, return the exit code; a child that does not end in time is killed."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(END_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal and do not wait."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """The exit code, once it has ended by itself."""
        return self._process.wait(END_DEADLINE_S)

    def memory_kib(self) -> dict[str, int]:
        """`VmRSS`, `VmHWM` and their like from Linux's /proc."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return {name: int(kib) for name, kib in re.findall(r"(Vm\w+|Rss\w+):\s+(\d+) kB", status)}


def start_service(kind: str, directory: Path, **about: str) -> tuple[Child, str]:
    """Start an OCR service; returns it and its URL. `about` becomes OCR_NAME, OCR_PATH, and so on."""
    python = sys.executable
    env = {"PYTHONPATH": str(SERVICES)} | {f"OCR_{key.upper()}": value for key, value in about.items()}
    match kind:
        case "flask-threaded":
            env["OCR_THREADED"] = "1"
            command, said = [python, str(SERVICES / "flask_app.py")], r"serving on (http://\S+)"
        case "flask-single":
            command, said = [python, str(SERVICES / "flask_app.py")], r"serving on (http://\S+)"
        case "gunicorn-sync":
            command = [python, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--workers", "2", "flask_app:app"]
            command += ["--no-control-socket"] if _gunicorn_has_control_socket() else []
            said = r"Listening at: (http://\S+)"
        case "uvicorn":
            command = [python, "-m", "uvicorn", "--port", "0", "--no-access-log", "asgi_app:app"]
            said = r"running on (http://\S+)"
        case _:
            raise AssertionError(kind)
    child = Child(command, directory, env)
    return child, child.wait_for(said)[1] + about.get("path", "/get_ocr")


def _gunicorn_has_control_socket() -> bool:
    import gunicorn

    return tuple(gunicorn.version_info) >= (25, 1)


class Balancer(Child):
    """The balancer, started through its command line on a free port."""

    def __init__(self, directory: Path, backends: Sequence[str], *options: str) -> None:
        named = [word for backend in backends for word in ("--backend", backend)]
        command = [sys.executable, "-m", "ocr_tcp_lb", "--listen", "127.0.0.1:0", "--access-log", "json"]
        command += ["--admin", "off"]  # unless the options say otherwise: the last one counts
        super().__init__([*command, *named, *options], directory)
        port = self.wait_for(r"listening on 127\.0\.0\.1:(\d+)")[1]
        self.port = int(port)
        self.url = f"http://127.0.0.1:{port}"
