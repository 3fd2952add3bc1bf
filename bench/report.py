"""What a run found, for people (Markdown and a picture) and for programs (JSON, with every single sample)."""

import datetime
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import peers, picture, stored, workloads
from bench.figures import BASELINE, added_ms, by_contestant, ratios, spread
from bench.runner import Sample
from bench.stored import Conditions
from bench.summary import summary

ENOUGH_FOR_P999 = 1000  # requests a turn; with fewer, it would be the slowest one


def conditions(command: str, versions: dict[str, str]) -> Conditions:
    """The present conditions."""
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    control = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    machine = f"{_processor()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}, TCP {control}"
    return Conditions(command, date, machine, os.getloadavg()[0], versions)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def markdown(samples: Sequence[Sample], where: Conditions, left_out: Sequence[str] = ()) -> str:
    """The whole report."""
    lines = [
        "# Benchmark",
        "",
        f"- Command: `{where.command}`",
        f"- Date: {where.date}, load average at the start {where.load_average:.2f}",
        f"- Machine: {where.machine}",
        *(f"- {name}: {version}" for name, version in where.versions.items()),
        *(f"- {text}" for text in left_out),
        "",
        "CPU is user and system time of the balancer's processes for a request. Figures are medians (least-most) of",
        "the turns; ratios are taken within each turn.",
        "",
        *summary(samples),
    ]
    for name in dict.fromkeys(sample.workload for sample in samples):
        workload = workloads.BY_NAME[name]
        of_workload = [sample for sample in samples if sample.workload == name]
        turns = 1 + max(sample.turn for sample in of_workload)
        lines += ["", f"## {workload.about} (`{name}`)", ""]
        lines += [f"{workload.connections} clients where nothing else is said; turns: {turns}.", ""]
        lines += table(of_workload, BASELINE[workload.mode])
    return "\n".join(lines) + "\n"


Cell = Callable[[Sequence[Sample]], str]


def table(samples: Sequence[Sample], baseline: str) -> list[str]:
    """One workload's table: a line for each contestant, and the columns for which there are figures."""
    contestants = by_contestant(samples)
    columns = {title: [cell(own) for own in contestants.values()] for title, cell in _cells(contestants, baseline)}
    shown = {title: cells for title, cells in columns.items() if set(cells) != {"-"}}
    lines = [f"| {' | '.join(shown)} |", "|---" + "|---:" * (len(shown) - 1) + "|"]
    lines += [f"| {' | '.join(cells)} |" for cells in zip(*shown.values(), strict=True)]
    for sample in samples:
        who = f"{sample.peer} {sample.variant}".strip()
        lines += [f"\n{who}, turn {sample.turn + 1}: {n} x {what}" for what, n in sample.errors.items()]
    return lines


def _cells(contestants: dict[tuple[str, str], list[Sample]], baseline: str) -> list[tuple[str, Cell]]:
    """The columns: a title, and what stands there for a contestant."""
    first = next(iter(contestants))[0]

    def of(variant: str, peer: str) -> Sequence[Sample]:
        return contestants.get((variant, peer), [])

    def compare(own: Sequence[Sample]) -> str:
        return spread(ratios(own, of(own[0].variant, baseline)))

    def compare_with_first(own: Sequence[Sample]) -> str:
        return "-" if own[0].variant == first else spread(ratios(own, of(first, own[0].peer)))

    def p999(own: Sequence[Sample]) -> str:
        return spread([one.p999_ms for one in own]) if own[0].requests >= ENOUGH_FOR_P999 else "-"

    return [
        ("balancer", lambda own: peers.BY_NAME[own[0].peer].title),
        ("where", lambda own: own[0].variant or "-"),
        ("CPU us a request", lambda own: spread([one.cpu_us for one in own if one.cpu_us])),
        ("to HAProxy", compare),
        (f"to itself, {first}", compare_with_first),
        ("requests/s", lambda own: spread([one.rate for one in own])),
        ("p50 ms", lambda own: spread([one.p50_ms for one in own], ".3f")),
        ("added to p50", lambda own: spread(added_ms(own, of(own[0].variant, "direct")), ".3f")),
        ("p99 ms", lambda own: spread([one.p99_ms for one in own])),
        ("p99.9 ms", p999),
        ("peak RSS MiB", lambda own: spread([one.rss_mib for one in own if one.rss_mib])),
        ("KiB an idle client", lambda own: spread([one.idle_kib for one in own if one.idle_kib is not None])),
        ("errors", lambda own: str(sum(sum(one.errors.values()) for one in own))),
    ]


def write(directory: Path, samples: Sequence[Sample], where: Conditions, left_out: Sequence[str] = ()) -> Path:
    """Write the JSON, the Markdown and the picture; return the Markdown's path."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = directory / f"cpu-{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}"
    stored.write(stem.with_suffix(".json"), samples, where, left_out)
    stem.with_suffix(".md").write_text(markdown(samples, where, left_out))
    if drawn := picture.picture(samples, f"{where.machine}, {where.date}"):
        stem.with_suffix(".svg").write_text(drawn)
    return stem.with_suffix(".md")
