"""The short table of a run: CPU microseconds a request for each workload and variant, one column for each balancer.

python -m bench.summary bench/results/cpu-....json
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from bench import stored, workloads
from bench.figures import BASELINE, by_contestant, median, ratios
from bench.runner import Sample

COLUMNS = {
    "ours": "ocr_tcp_lb",
    "haproxy": "HAProxy",
    "haproxy-copying": "without splicing",
    "nginx": "nginx",
    "envoy": "Envoy",
}
SCRIPTS = {"aiohttp": "aiohttp script", "flask": "Flask script"}
OF_MODE = {"tcp": "-tcp", "http": ""}  # what a peer's name ends with


def summary(samples: Sequence[Sample]) -> list[str]:
    """The lines of the table; a column or a cell without a figure is a dash."""
    shown = {**COLUMNS, **SCRIPTS}
    lines = [f"| CPU us a request | {' | '.join(shown.values())} | ours to HAProxy |"]
    lines.append("|---|" + "---:|" * (len(shown) + 1))
    for name in dict.fromkeys(sample.workload for sample in samples):
        workload = workloads.BY_NAME[name]
        contestants = by_contestant(sample for sample in samples if sample.workload == name)
        for variant in dict.fromkeys(variant for variant, _ in contestants):
            found = [contestants.get((variant, f"{peer}{OF_MODE[workload.mode]}"), []) for peer in shown]
            base = contestants.get((variant, BASELINE[workload.mode]), [])
            cells = [_number(median([one.cpu_us for one in own])) for own in found]
            ratio = median(ratios(found[0], base))
            cells.append("-" if ratio is None else f"{ratio:.2f}")
            lines.append(f"| {workload.titled(variant)} | {' | '.join(cells)} |")
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def main(arguments: Sequence[str]) -> int:
    samples, where = stored.read(Path(arguments[0]))
    print("\n".join([*summary(samples), "", f"`{where.command}`: {where.machine}, {where.date}"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
