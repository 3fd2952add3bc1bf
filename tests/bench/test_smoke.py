"""The benchmark runs: every workload through ours, and HAProxy's where it is installed. No time is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmark needs Linux's /proc")


def run_bench(out: Path, *options: str) -> list[dict[str, object]]:
    """The samples of a run with as few requests as it makes."""
    command = [sys.executable, "-m", "bench", "--turns", "1", "--scale", "0", "--out", str(out), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = out.glob("*.json")
    samples: list[dict[str, object]] = json.loads(result.read_text())["samples"]
    return samples


def test_every_workload_is_answered_through_ours(tmp_path: Path) -> None:
    samples = run_bench(tmp_path, "--peers", "ours-asyncio,ours-tcp")
    assert len({sample["workload"] for sample in samples}) >= 8
    for sample in samples:
        assert sample["errors"] == {}
        assert float(str(sample["cpu_us"])) > 0


def test_haproxy_does_the_same_job_where_it_is_installed(tmp_path: Path) -> None:
    samples = run_bench(tmp_path, "--peers", "ours-asyncio,haproxy", "--workloads", "post-1k-varied,chunked-4m")
    assert {"ours-asyncio"} <= {sample["peer"] for sample in samples} <= {"ours-asyncio", "haproxy"}


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    command = [sys.executable, "-m", "bench", "--peers", "apache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2
    assert "known: ours" in done.stderr
