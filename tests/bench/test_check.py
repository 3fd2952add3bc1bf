"""The guard against becoming dearer: what it lets pass, and what not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench import check
from bench.runner import Sample

ROOT = Path(__file__).resolve().parents[2]


def sample(workload: str, peer: str, turn: int, cpu_us: float) -> Sample:
    return Sample(workload, "", peer, turn, 100, cpu_us, 1.0, 1.0, 2.0, 3.0, 30.0, None, {})


def test_what_is_measured_is_the_median_ratio_of_each_workload() -> None:
    samples = [sample("get-1k", "ours", turn, cpu_us) for turn, cpu_us in enumerate((10, 20, 90))]
    samples += [sample("get-1k", "haproxy", turn, 10) for turn in range(3)]
    samples += [sample("l4-1k", "ours-tcp", 0, 30), sample("l4-1k", "haproxy-tcp", 0, 20)]
    assert check.measured(samples) == {"get-1k": 2.0, "l4-1k": 1.5}


def test_up_to_15_percent_more_passes_and_beyond_does_not() -> None:
    stored = {"get-1k": 1.0, "upload-4m": 0.5}
    assert check.judge({"get-1k": 1.149, "upload-4m": 0.3}, stored)[1]
    lines, is_well = check.judge({"get-1k": 1.0, "upload-4m": 0.58}, stored)
    assert not is_well
    assert "+16%, too much" in lines[-1]


def test_a_workload_that_was_never_stored_is_shown_and_judged_next_time() -> None:
    lines, is_well = check.judge({"new": 3.0}, {})
    assert is_well
    assert "| new | - | 3.00 | new |" in lines


def test_the_stored_baseline_covers_what_is_checked() -> None:
    assert set(json.loads(check.STORED.read_text())["ratios"]) == set(check.CHECKED)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmark needs Linux's /proc")
@pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="needs Debian's haproxy")
def test_it_runs(tmp_path: Path) -> None:
    stored = tmp_path / "baseline.json"
    command = [sys.executable, "-m", "bench.check", "--smoke", "--store", "--baseline", str(stored)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=55)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(json.loads(stored.read_text())["ratios"]) == set(check.CHECKED)
    assert "| get-1k |" in done.stdout
