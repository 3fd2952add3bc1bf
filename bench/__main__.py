"""`python -m bench`: measure the balancer beside HAProxy, nginx and the scripts that people write themselves.

Installs nothing; says what is missing and how to get it. Results go to standard output and bench/results/. Exit
code 1 when a reply was wrong or missing or a peer failed, 2 when nothing could be run.
"""

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import report, runner
from bench.arguments import at_least
from bench.children import raise_descriptor_limit
from bench.peers import BY_NAME as PEER_NAMES
from bench.peers import PEERS, Peer
from bench.workloads import BY_NAME as WORKLOAD_NAMES
from bench.workloads import SCRIPTS, WORKLOADS

RESULTS = Path(__file__).parent / "results"
TURNS = 5
QUICK_TURNS, QUICK_SCALE = 3, 0.2


def names(known: Sequence[str], text: str) -> list[str]:
    """A list of names with commas."""
    chosen = text.split(",")
    if wrong := [name for name in chosen if name not in known]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(wrong)}; known: {', '.join(known)}")
    return chosen


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--workloads",
        type=lambda text: names(list(WORKLOAD_NAMES), text),
        default=list(WORKLOAD_NAMES),
        help=f"of: {', '.join(WORKLOAD_NAMES)} (all)",
    )
    parser.add_argument(
        "--peers",
        type=lambda text: names(list(PEER_NAMES), text),
        default=list(PEER_NAMES),
        help=f"of: {', '.join(PEER_NAMES)} (all)",
    )
    parser.add_argument("--turns", type=at_least(1), help=f"turns of each peer ({TURNS}, quick: {QUICK_TURNS})")
    parser.add_argument("--scale", type=float, default=1.0, help="requests a turn, as a factor (1)")
    parser.add_argument("--quick", action="store_true", help="a fifth of the requests, without the slow scripts")
    parser.add_argument("--smoke", action="store_true", help="hardly any requests: does everything run?")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory of the results (bench/results)")
    return parser.parse_args(argv)


def plan_of(options: argparse.Namespace, peers: Sequence[Peer]) -> runner.Plan:
    """What the options ask for, with the peers that are there."""
    workloads = [workload for workload in WORKLOADS if workload.name in options.workloads]
    if options.quick:
        peers = [peer for peer in peers if peer.name not in SCRIPTS]
    turns = options.turns or (1 if options.smoke else QUICK_TURNS if options.quick else TURNS)
    scale = options.scale * (QUICK_SCALE if options.quick else 1)
    return runner.Plan(workloads, peers, turns, scale, options.smoke, raise_descriptor_limit(), say)


def say(text: str) -> None:
    """Progress goes to standard error."""
    print(text, file=sys.stderr, flush=True)


def find(wanted: Sequence[Peer]) -> dict[str, str]:
    """The versions of the peers that are there, by name; the others are named with how to get them."""
    versions: dict[str, str] = {}
    for peer in wanted:
        found = peer.find()
        if found is None:
            say(f"{peer.title} is missing and left out; to get it: {peer.how_to_get}")
        else:
            versions[peer.name] = found
    return versions


def main(argv: Sequence[str]) -> int:
    """Run and report."""
    options = parse(argv)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # so that the children are ended
    if not sys.platform.startswith("linux"):
        say("CPU time and memory of other processes are read from Linux's /proc; there is none here")
        return 2
    versions = find([peer for peer in PEERS if peer.name in options.peers])
    peers = [peer for peer in PEERS if peer.name in versions]
    titled = {peer.title: versions[peer.name] for peer in peers}
    where = report.conditions(shlex.join(["python", "-m", "bench", *argv]), titled)
    plan = plan_of(options, peers)
    samples = list(runner.run(plan))
    if not samples:
        say("nothing was run")
        return 2
    path = report.write(options.out, samples, where, plan.left_out)
    print(path.read_text())
    say(f"written to {path}")
    return 1 if plan.left_out or any(sample.errors for sample in samples) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
