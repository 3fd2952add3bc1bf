"""The running program takes commands and reloads, and a bad file changes nothing."""

import signal
import subprocess
import sys
from pathlib import Path

import requests

from e2e.conftest import StartService
from e2e.processes import Child


def control(admin: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ocr_tcp_lb", "control", *words, "--admin", admin]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_commands_and_reloads_change_who_serves(start_one: StartService, tmp_path: Path) -> None:
    urls = [start_one("flask-threaded", name=name)[1] for name in ("one", "two")]
    file, admin = tmp_path / "lb.toml", f"unix:{tmp_path / 'admin'}"

    def write(text: str) -> None:
        file.write_text('policy = "round-robin"\n' + text)  # everybody gets something

    def served() -> set[str]:
        return {requests.get(front, timeout=20).json()["service"] for _ in range(6)}

    backends = [f'[[backend]]\nurl = "{url}"\nname = "s{number}"\n' for number, url in enumerate(urls, 1)]
    write("".join(backends))
    words = [sys.executable, "-m", "ocr_tcp_lb", "--config", str(file), "--listen", "127.0.0.1:0", "--admin", admin]
    words += ["--policy", "round-robin"]  # one request after the other goes to each in turn
    balancer = Child(words, tmp_path / "balancer")
    try:
        front = f"http://127.0.0.1:{balancer.wait_for(r'listening on 127.0.0.1:([0-9]+)')[1]}/"
        assert served() == {"one", "two"}
        done = control(admin, "drain", "s1")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("backend s1 is draining")
        assert served() == {"two"}
        refused = control(admin, "drain", "s3")
        assert refused.returncode == 2
        assert "there is no backend 's3'" in refused.stderr

        write("retries = -1\nfoo = 1\n")
        balancer.signal(signal.SIGHUP)
        balancer.wait_for("not reloaded.*retries")
        balancer.wait_for("not reloaded.*foo")
        assert served() == {"two"}

        write(backends[0])
        balancer.signal(signal.SIGHUP)
        balancer.wait_for("reloaded; backends: 0 added, 0 changed, 1 removed")
        assert control(admin, "undrain", "s1").returncode == 0
        assert served() == {"one"}
        assert control(admin, "add", f"{urls[1]},name=s2").returncode == 0
        assert served() == {"one", "two"}
    finally:
        assert balancer.end() == 0
