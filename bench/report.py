"""What a run found, for people (Markdown) and programs (JSON): medians with their spread, and ratios turn by turn.

A ratio compares a peer with HAProxy in the *same turn*, then the median of the turns is taken: what slows the whole
machine down for a while cancels out.
"""

import datetime
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import peers, workloads
from bench.runner import Sample


@dataclass(frozen=True, slots=True)
class Conditions:
    """Where, when and how the run was made."""

    command: str
    date: str
    machine: str
    load_average: float
    versions: dict[str, str]


def conditions(command: str, versions: dict[str, str]) -> Conditions:
    """The present conditions."""
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    machine = f"{_processor()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}"
    return Conditions(command, date, machine, os.getloadavg()[0], versions)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def markdown(samples: Sequence[Sample], where: Conditions) -> str:
    """The whole report."""
    lines = [
        "# Benchmark",
        "",
        f"- Command: `{where.command}`",
        f"- Date: {where.date}, load average at the start {where.load_average:.2f}",
        f"- Machine: {where.machine}",
        *(f"- {name}: {version}" for name, version in where.versions.items()),
        "",
        "CPU is user and system time of the balancer's processes for a request: median (least-most) of the turns.",
    ]
    for name in dict.fromkeys(sample.workload for sample in samples):
        workload = workloads.BY_NAME[name]
        of_workload = [sample for sample in samples if sample.workload == name]
        turns = 1 + max(sample.turn for sample in of_workload)
        lines += ["", f"## {workload.about} (`{name}`, {workload.connections} clients, {turns} turns)", ""]
        lines += table(of_workload, peers.BASELINE[workload.mode])
    return "\n".join(lines) + "\n"


def table(samples: Sequence[Sample], baseline: str) -> list[str]:
    """One workload's table."""
    by_peer: dict[str, list[Sample]] = {}
    for sample in samples:
        by_peer.setdefault(sample.peer, []).append(sample)
    lines = [
        "| balancer | CPU us a request | to HAProxy | requests/s | p50 ms | p99 ms | peak RSS MiB | errors |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, own in by_peer.items():
        ratio = ratio_to(own, by_peer.get(baseline, []))
        cells = [
            peers.BY_NAME[name].title,
            spread([sample.cpu_us for sample in own]),
            "-" if ratio is None else f"{ratio:.2f}",
            f"{_median(own, lambda sample: sample.rate):,.0f}",
            f"{_median(own, lambda sample: sample.p50_ms):.2f}",
            f"{_median(own, lambda sample: sample.p99_ms):.2f}",
            f"{max(sample.rss_mib for sample in own):.0f}",
            str(sum(sum(sample.errors.values()) for sample in own)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    for sample in samples:
        lines += [f"\n{sample.peer}, turn {sample.turn + 1}: {n} x {what}" for what, n in sample.errors.items()]
    return lines


def spread(values: Sequence[float]) -> str:
    """Median (least-most), with three figures."""
    return f"{_short(statistics.median(values))} ({_short(min(values))}-{_short(max(values))})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _median(samples: Sequence[Sample], key: Callable[[Sample], float]) -> float:
    return statistics.median(key(sample) for sample in samples)


def ratio_to(own: Sequence[Sample], baseline: Sequence[Sample]) -> float | None:
    """The median over turns of our CPU time to the baseline's; None without a turn in common."""
    theirs = {sample.turn: sample.cpu_us for sample in baseline}
    ratios = [sample.cpu_us / theirs[sample.turn] for sample in own if sample.turn in theirs]
    return statistics.median(ratios) if ratios else None


def write(directory: Path, samples: Sequence[Sample], where: Conditions) -> Path:
    """Write the JSON and the Markdown, and a picture where matplotlib is installed; return the Markdown's path."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = directory / f"cpu-{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}"
    data: Mapping[str, object] = {"conditions": asdict(where), "samples": [asdict(sample) for sample in samples]}
    stem.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n")
    stem.with_suffix(".md").write_text(markdown(samples, where))
    draw(stem.with_suffix(".svg"), samples)
    return stem.with_suffix(".md")


def draw(path: Path, samples: Sequence[Sample]) -> None:
    """Bars of the median CPU time, a panel a workload; nothing without matplotlib."""
    try:
        from matplotlib.figure import Figure  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return
    names = list(dict.fromkeys(sample.workload for sample in samples))
    figure = Figure(figsize=(8, 2.2 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), squeeze=False)[:, 0]
    for panel, name in zip(panels, names, strict=True):
        own: dict[str, list[float]] = {}
        for sample in samples:
            if sample.workload == name:
                own.setdefault(peers.BY_NAME[sample.peer].title, []).append(sample.cpu_us)
        panel.barh(list(own), [statistics.median(values) for values in own.values()])
        panel.invert_yaxis()
        panel.set_xscale("log")
        panel.set_title(f"{workloads.BY_NAME[name].about}: CPU us a request", fontsize=9)
    figure.savefig(path)
