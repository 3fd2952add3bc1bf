"""Has the balancer become dearer? Compares its CPU time relative to HAProxy's with what was stored.

    python -m bench.check                 # 1 to 3 minutes; exit code 1 when a ratio is more than 15 % above the stored
    python -m bench.check --store         # store the present ratios in bench/baseline.json
    python -m bench.check --smoke         # does it run? times are not judged

Ratios, not microseconds, so that another machine may judge, too; but not any: ratios of large bodies depend on the
machine's memory. Exit code 2: it could not be measured.
"""

import argparse
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import report, runner
from bench.__main__ import find, say
from bench.arguments import at_least
from bench.children import raise_descriptor_limit
from bench.figures import BASELINE, by_contestant, median, ratios
from bench.peers import BY_NAME as PEERS
from bench.runner import Sample
from bench.workloads import BY_NAME as WORKLOADS

STORED = Path(__file__).parent / "baseline.json"
ALLOWED = 1.15
TURNS, SCALE = 7, 0.5
CHECKED = (
    "get-1k",
    "post-1k-varied",
    "connect-1k",
    "multipart-300k",
    "upload-4m",
    "upload-4m-streamed",
    "download-4m",
    "l4-1k",
)
COMPARED = ("ours", "haproxy", "ours-tcp", "haproxy-tcp")


def measured(samples: Sequence[Sample]) -> dict[str, float]:
    """Our ratio to HAProxy in each workload."""
    found: dict[str, float] = {}
    for name in dict.fromkeys(sample.workload for sample in samples):
        base = BASELINE[WORKLOADS[name].mode]
        contestants = by_contestant(sample for sample in samples if sample.workload == name)
        for (variant, peer), own in contestants.items():
            ratio = median(ratios(own, contestants.get((variant, base), [])))
            if peer != base and ratio is not None:
                found[name] = round(ratio, 3)
    return found


def judge(now: Mapping[str, float], stored: Mapping[str, float]) -> tuple[list[str], bool]:
    """A table, and whether nothing has become dearer than is allowed."""
    lines = [f"| workload | stored | now | change (at most +{ALLOWED - 1:.0%}) |", "|---|---:|---:|---:|"]
    is_well = True
    for name, ratio in now.items():
        if name not in stored:
            lines.append(f"| {name} | - | {ratio:.2f} | new |")
            continue
        change = ratio / stored[name]
        is_well = is_well and change <= ALLOWED
        verdict = "" if change <= ALLOWED else ", too much"
        lines.append(f"| {name} | {stored[name]:.2f} | {ratio:.2f} | {change - 1:+.0%}{verdict} |")
    return lines, is_well


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.check", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--store", action="store_true", help="store what is measured as the new baseline")
    parser.add_argument("--smoke", action="store_true", help="hardly any requests, and no judgement")
    parser.add_argument("--turns", type=at_least(1), default=TURNS)
    parser.add_argument("--baseline", type=Path, default=STORED)
    options = parser.parse_args(argv)
    if not options.store and not options.baseline.exists():
        say(f"there is no {options.baseline} to compare with; make one with --store")
        return 2
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(2))  # so that the children are ended
    peers = [PEERS[name] for name in COMPARED]
    versions = find(peers)
    if len(versions) < len(peers):
        return 2
    where = report.conditions("python -m bench.check", versions)
    turns = 1 if options.smoke else options.turns
    workloads = [WORKLOADS[name] for name in CHECKED]
    plan = runner.Plan(workloads, peers, turns, SCALE, options.smoke, raise_descriptor_limit(), say)
    samples = list(runner.run(plan))
    now = measured(samples)
    if len(now) < len(CHECKED) or any(sample.errors for sample in samples):
        say("not everything was answered, and well")
        return 2
    if options.store:
        data = {"machine": where.machine, "date": where.date, "versions": versions, "ratios": now}
        options.baseline.write_text(json.dumps(data, indent=1) + "\n")
    stored = json.loads(options.baseline.read_text())
    if stored["machine"] != where.machine:
        say(f"stored on another machine: {stored['machine']}; this is {where.machine}")
    lines, is_well = judge(now, stored["ratios"])
    print("\n".join(lines))
    return 0 if is_well or options.smoke else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
