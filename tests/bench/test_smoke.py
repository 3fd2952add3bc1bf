"""The benchmark runs: every workload through ours, some through each peer that is installed. No time is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.workloads import BY_NAME, WORKLOADS

PARTS = 4  # that a slow machine runs each of them in time
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmark needs Linux's /proc")


def run_bench(out: Path, *options: str) -> tuple[list[dict[str, object]], str]:
    """The samples of a run with as few requests as it makes, and what it said."""
    command = [sys.executable, "-m", "bench", "--smoke", "--out", str(out), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=55)
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = out.glob("*.json")
    samples: list[dict[str, object]] = json.loads(result.read_text())["samples"]
    for sample in samples:
        assert sample["errors"] == {}
    return samples, done.stderr


@pytest.mark.parametrize("part", range(PARTS))
def test_every_workload_is_answered_through_ours(part: int, tmp_path: Path) -> None:
    workloads = WORKLOADS[part::PARTS]
    chosen = ",".join(workload.name for workload in workloads)
    samples, said = run_bench(tmp_path, "--peers", "ours,ours-tcp,direct", "--workloads", chosen)
    seen = {(sample["workload"], sample["variant"]) for sample in samples}
    assert seen == {(workload.name, variant.name) for workload in workloads for variant in workload.variants}, said
    assert all(float(str(sample["cpu_us"])) > 0 for sample in samples if sample["peer"] != "direct")


def test_peers_do_the_same_job_where_they_are_installed(tmp_path: Path) -> None:
    samples, said = run_bench(tmp_path, "--workloads", "post-1k-varied,logs", "--scale", "0")
    there = {sample["peer"] for sample in samples}
    assert {"ours", "ours-asyncio", "aiohttp", "flask"} <= there <= set(BY_NAME["post-1k-varied"].peers)
    assert "left out: a process" not in said
    missing = set(BY_NAME["post-1k-varied"].peers) - there
    assert said.count("is missing and left out; to get it:") >= len(missing)


def run_with(tmp_path: Path, peers: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the bench for some peers in an environment of its own."""
    command = [sys.executable, "-m", "bench", "--smoke", "--peers", peers, "--workloads", "get-1k"]
    return subprocess.run(
        [*command, "--out", str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


def run_with_haproxy(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run it beside this program in HAProxy's place."""
    program = tmp_path / "haproxy"
    program.write_text(script)
    program.chmod(0o755)
    return run_with(tmp_path, "ours,haproxy-new", HAPROXY=str(program))


def test_a_peer_that_cannot_start_is_left_out_with_its_last_words(tmp_path: Path) -> None:
    broken = "#!/bin/sh\n[ $1 = -v ] && echo HAProxy version 9.9.9 && exit\necho out of order\nexit 3\n"
    done = run_with_haproxy(tmp_path, broken)
    assert "newer HAProxy, HTTP mode is left out: newer HAProxy, HTTP mode did not start: out of order" in done.stderr
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "| ocr_tcp_lb (uvloop) |" in done.stdout


def test_another_installation_runs_beside_this_one_and_tells_its_version(tmp_path: Path) -> None:
    package = tmp_path / "lib"
    package.mkdir()
    (package / "ocr_tcp_lb").symlink_to(ROOT / "ocr_tcp_lb")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={package} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = run_with(tmp_path, "ours-other", OURS=str(python))
    assert done.returncode == 0, done.stderr
    assert "- other ocr_tcp_lb (uvloop): " in done.stdout


MORTAL = """#!{python}
import socket, sys
if sys.argv[1] == "-v":
    print("HAProxy version 9.9.9")
    sys.exit()
config = open(sys.argv[-1]).read()
port = int(config.partition("bind 127.0.0.1:")[2].split()[0])
with socket.create_server(("127.0.0.1", port)) as server:
    for _ in range(2):  # who looks whether it has started, and the first client
        server.accept()
sys.exit("out of breath")
"""


def test_a_peer_that_dies_in_its_turn_is_left_out_with_its_last_words(tmp_path: Path) -> None:
    done = run_with_haproxy(tmp_path, MORTAL.format(python=sys.executable))
    assert (
        "newer HAProxy, HTTP mode is left out: newer HAProxy, HTTP mode died with code 1: out of breath" in done.stderr
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    command = [sys.executable, "-m", "bench", "--peers", "apache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 2
    assert "known: direct, ours" in done.stderr
