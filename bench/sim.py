"""Simulate the scheduler: the very code of `ocr_tcp_lb.balance` against fleets of simulated workers.

    python -m bench.sim [--fleet NAME]... [--policy NAME]... [--seeds 5] [--json FILE] [--plot FILE]
    python -m bench.sim --cost       # CPU per decision, small fleet and large

Each number is a latency relative to the ideal central FIFO queue on the same trace: the geometric mean over seeds.
`told` knows each worker's concurrency, `auto` learns it; `size` serves short jobs first. `cold` is the mean over the
first 400 requests of a fresh fleet, the others leave those out. Nothing sleeps; the same seeds give the same table.
"""

import argparse
import json
import math
import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from bench.sim_cost import cost_table
from bench.sim_engine import Ideal, Request, Scheduler, Simulation, worker_name
from bench.sim_fleets import FLEETS, FleetCase
from ocr_tcp_lb.balance import BackendSpec, Fleet, Outcome

COLD = 400  # requests that a fresh fleet is given to learn in
REQUESTS = 4000
VARIANTS = (
    "queue/told",
    "queue/auto",
    "queue/told/size",
    "queue/auto/size",
    "round-robin/auto",
    "random/auto",
    "least-outstanding/auto",
    "p2c/auto",
    "peak-ewma/auto",
)


@dataclass(frozen=True, slots=True)
class Figures:
    """One variant on one fleet, relative to the ideal; geometric means over seeds, counts are the worst seed's."""

    fleet: str
    variant: str
    mean: float
    p99: float
    cold: float
    errors: int  # requests that saw a 500
    timeouts: int  # requests that waited for the response time-out


def scheduler(case: FleetCase, variant: str, seed: int) -> Fleet:
    """Return a fresh fleet: `policy/told|auto[/size]`."""
    policy, concurrency, *order = variant.split("/")
    specs = [
        BackendSpec(worker_name(i), 1.0, spec.concurrency if concurrency == "told" else "auto")
        for i, spec in enumerate(case.workers)
    ]
    return Fleet(specs, policy, 1_000_000, random.Random(seed), **({"order": order[0]} if order else {}))  # type: ignore[arg-type]


def run(case: FleetCase, one: Scheduler, seed: int, count: int) -> list[Request]:
    """Run one trace through one scheduler."""
    return Simulation(case.workers, one).run(case.trace(seed, count))


def mean_s(requests: Sequence[Request]) -> float:
    return sum(request.latency_s for request in requests) / len(requests)


def p99_s(requests: Sequence[Request]) -> float:
    return sorted(request.latency_s for request in requests)[math.ceil(0.99 * len(requests)) - 1]


def geometric(values: Iterable[float]) -> float:
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs))


def ideals(case: FleetCase, seeds: int, count: int) -> list[list[Request]]:
    return [run(case, cast(Scheduler, Ideal(case)), seed, count) for seed in range(seeds)]


def compare(case: FleetCase, variant: str, ideal: list[list[Request]], count: int) -> Figures:
    """Run a variant on each seed's trace and put it in relation to the ideal."""
    runs = [run(case, scheduler(case, variant, seed), seed, count) for seed in range(len(ideal))]
    pairs = list(zip(runs, ideal, strict=True))
    return Figures(
        case.name,
        variant,
        mean=geometric(mean_s(mine[COLD:]) / mean_s(best[COLD:]) for mine, best in pairs),
        p99=geometric(p99_s(mine[COLD:]) / p99_s(best[COLD:]) for mine, best in pairs),
        cold=geometric(mean_s(mine[:COLD]) / mean_s(best[:COLD]) for mine, best in pairs),
        errors=max(sum(r.outcome is Outcome.SERVER_ERROR for r in mine) for mine in runs),
        timeouts=max(sum(r.outcome is Outcome.SILENT for r in mine) for mine in runs),
    )


def table(figures: Sequence[Figures]) -> str:
    """Return a Markdown table, fleets down, variants across: mean / p99 / cold."""
    variants = list(dict.fromkeys(one.variant for one in figures))
    fleets = list(dict.fromkeys(one.fleet for one in figures))
    by_place = {(one.fleet, one.variant): one for one in figures}
    lines = [f"| mean / p99 / cold | {' | '.join(variants)} |", "|---" * (len(variants) + 1) + "|"]
    for fleet in fleets:
        cells = [_cell(by_place[fleet, variant]) for variant in variants]
        lines.append(f"| {fleet} | {' | '.join(cells)} |")
    totals = [[one for one in figures if one.variant == variant] for variant in variants]
    cells = [" / ".join(f"{geometric(getattr(o, f) for o in t):.2f}" for f in ("mean", "p99", "cold")) for t in totals]
    return "\n".join([*lines, f"| **geometric mean** | {' | '.join(cells)} |"])


def _cell(one: Figures) -> str:
    extra = "".join(f", {count} {name}" for name, count in (("500s", one.errors), ("silent", one.timeouts)) if count)
    return f"{one.mean:.2f} / {one.p99:.2f} / {one.cold:.2f}{extra}"


def plot(figures: Sequence[Figures], path: Path) -> None:
    """Draw the means as bars, where matplotlib is installed."""
    try:
        from matplotlib import pyplot  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        print("no plot: matplotlib is not installed", file=sys.stderr)
        return
    variants = list(dict.fromkeys(one.variant for one in figures))
    fleets = list(dict.fromkeys(one.fleet for one in figures))
    picture, axes = pyplot.subplots(figsize=(8, 1 + 0.12 * len(figures)))
    for number, variant in enumerate(variants):
        means = [one.mean for one in figures if one.variant == variant]
        places = [place + number / (len(variants) + 1) for place in range(len(fleets))]
        axes.barh(places, means, height=1 / (len(variants) + 1), label=variant)
    axes.set_yticks(range(len(fleets)), fleets)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("mean latency relative to the ideal central queue")
    axes.axvline(1, color="black", linewidth=0.5)
    axes.legend(fontsize="small")
    picture.savefig(path, bbox_inches="tight")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.sim", description="Simulate the scheduler.")
    parser.add_argument("--fleet", action="append", choices=list(FLEETS), help="repeatable; default: all")
    parser.add_argument("--policy", action="append", help=f"repeatable; default: {', '.join(VARIANTS)}")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--plot", type=Path, help="draw the means here, if matplotlib is installed")
    parser.add_argument("--cost", action="store_true", help="measure the CPU per decision instead")
    options = parser.parse_args(arguments)
    if options.cost:
        print(cost_table())
        return 0
    if options.requests <= COLD:
        parser.error(f"--requests {options.requests} is too few: the first {COLD} are left out; write more than that")
    figures = []
    for name in options.fleet or FLEETS:
        ideal = ideals(FLEETS[name], options.seeds, options.requests)
        for variant in options.policy or VARIANTS:
            figures.append(compare(FLEETS[name], variant, ideal, options.requests))
            print(f"{name}: {variant}: {_cell(figures[-1])}", file=sys.stderr, flush=True)
    print(table(figures))
    if options.plot:
        plot(figures, options.plot)
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in figures], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
