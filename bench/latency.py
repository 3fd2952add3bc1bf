"""Latency of live balancers before sleeping workers, relative to the ideal central queue on the same trace.

    python -m bench.latency [--fleet NAME]... [--requests 1200] [--seeds 1] [--out FILE]

Fleets and traces are the simulator's (`bench.sim`), with times scaled so that a mean request takes 100 ms or more.
Each request is sent at its time whatever became of the others (open loop), on a connection of its own, and its latency
counts from that time: an overloaded generator or balancer cannot hide (no coordinated omission). All peers run at the
same time, each before workers of its own, so that a busy moment of the machine meets all of them. What the ideal would
have taken is simulated. The first 400 requests, in which whoever learns is learning, are shown apart (`cold`).
"""

import argparse
import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from bench import loops
from bench.arguments import at_least
from bench.children import ROOT, BenchError, end
from bench.live_peers import LIVE_PEERS, LivePeer, Site
from bench.live_workers import to_json
from bench.ports import free_port
from bench.sim_engine import Ideal, Request, Scheduler, Simulation
from bench.sim_fleets import FLEETS, RESPONSE_TIMEOUT_S, Arrival, FleetCase
from bench.sim_workers import WorkerSpec

TIME_SCALE = 0.4  # a mean request takes 100 ms at the usual worker, not 250; longer in fleets that do more at once:
MOST_A_SECOND = 24.0  # requests to each peer, so that all of them, workers included, leave a small machine idle
BODY_BYTES_PER_WORK = 20_000
TRACE_LENGTH = 4000  # requests for which the simulator's faults are placed in time
COLD = 400  # as in the simulator: requests that a fresh fleet is given to learn in, or half of a short trace
LIVE_FLEETS = (
    "equal",
    "4 at once",
    "one 3x slower",
    "one 10x slower",
    "one 10x slower, half load",
    "bimodal",
    "12 mixed",
    "sharing a CPU",
    "500 in 2 ms",
    "hang",
    "kill and return",
    "burst",
    "drift",
)


@dataclass(frozen=True, slots=True)
class Figures:
    """One peer on one fleet: latency relative to the ideal, and requests that were not answered with 200."""

    fleet: str
    peer: str
    mean: float
    p99: float
    cold: float
    failed: int


def live_case(case: FleetCase, requests: int) -> FleetCase:
    """Return the fleet in live seconds, its faults where they are in a trace of this length."""
    rate = case.load * (case.useful or sum(spec.capacity for spec in case.workers))
    scale = max(TIME_SCALE, rate / MOST_A_SECOND)
    of_faults = scale * requests / TRACE_LENGTH

    def scaled(spec: WorkerSpec) -> WorkerSpec:
        faults = spec.faults
        times = {
            name: getattr(faults, name) * of_faults
            for name in ("errors_from", "hangs_from", "dead_from", "dead_until", "slower_from")
        }
        return replace(spec, service_s=spec.service_s * scale, faults=replace(faults, **times))

    useful = case.useful / scale if case.useful else None
    return replace(case, workers=tuple(map(scaled, case.workers)), useful=useful)


def response_timeout_s(case: FleetCase) -> float:
    """Return the time-out of all peers: short where somebody hangs, so that it is met often within a run."""
    hangs = any(spec.faults.hangs_from < math.inf for spec in case.workers)
    return RESPONSE_TIMEOUT_S * TIME_SCALE if hangs else 60.0


class Rig:
    """One peer before workers of its own."""

    def __init__(self, peer: LivePeer, case: FleetCase, directory: Path) -> None:
        self.peer = peer
        self._stack = ExitStack()
        command = [sys.executable, "-m", "bench.live_workers", to_json(case.workers)]
        self._workers = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._stack.callback(end, self._workers)
        assert self._workers.stdout is not None
        ports = json.loads(self._workers.stdout.readline() or "[]")
        self.port = free_port()
        directory.mkdir()
        output = self._stack.enter_context((directory / "output").open("wb"))
        site = Site(self.port, case.workers, ports, directory, response_timeout_s(case))
        self._balancer = subprocess.Popen(peer.command(site), cwd=ROOT, stdout=output, stderr=output)
        self._stack.callback(end, self._balancer)

    async def until_ready(self) -> None:
        """Wait until it accepts."""
        for _ in range(500):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
        raise BenchError(f"{self.peer.name} did not start")

    def start_clock(self) -> None:
        assert self._workers.stdin is not None
        self._workers.stdin.write("\n")
        self._workers.stdin.flush()

    def close(self) -> None:
        if self._workers.stdin is not None:
            self._workers.stdin.close()
        self._stack.close()


async def ask(port: int, arrival: Arrival, due: float) -> tuple[float, bool]:
    """Send one request when it is due; return its latency from then, and whether it was answered with 200."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(due - loop.time())
    size = round(arrival.work * BODY_BYTES_PER_WORK)
    head = (
        f"POST / HTTP/1.1\r\nHost: x\r\nX-Work: {arrival.work}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    )
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + bytes(size))
        reply = await reader.read()
        writer.close()
    except OSError:
        reply = b""
    return loop.time() - due, reply.startswith(b"HTTP/1.1 200")


async def run_fleet(rigs: Sequence[Rig], trace: Sequence[Arrival]) -> list[list[tuple[float, bool]]]:
    """Send the trace to all rigs at once."""
    for rig in rigs:
        await rig.until_ready()
    zero = asyncio.get_running_loop().time() + 0.5
    await asyncio.sleep(0.5)
    for rig in rigs:
        rig.start_clock()
    lives = [asyncio.gather(*(ask(rig.port, one, zero + one.at) for one in trace)) for rig in rigs]
    return await asyncio.gather(*lives)


def relate(name: str, peer: str, lives: Sequence[tuple[float, bool]], ideal: Sequence[Request]) -> Figures:
    """Put what a peer did in relation to the ideal."""
    cold = min(COLD, len(lives) // 2)
    mine, best = [latency for latency, _ in lives], [request.latency_s for request in ideal]
    return Figures(
        name,
        peer,
        mean=sum(mine[cold:]) / sum(best[cold:]),
        p99=_p99(mine[cold:]) / _p99(best[cold:]),
        cold=sum(mine[:cold]) / sum(best[:cold]),
        failed=sum(not is_well for _, is_well in lives),
    )


def _p99(latencies: Sequence[float]) -> float:
    return sorted(latencies)[math.ceil(0.99 * len(latencies)) - 1]


def compare(name: str, seed: int, requests: int, peers: Sequence[LivePeer]) -> list[Figures]:
    """Run one trace of one fleet through all peers and the ideal."""
    case = live_case(FLEETS[name], requests)
    trace = case.trace(seed, requests)
    ideal = Simulation(case.workers, cast(Scheduler, Ideal(case))).run(trace)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        os.chmod(directory, 0o755)  # nginx's worker is another user
        rigs = []
        for number, peer in enumerate(peers):
            rigs.append(Rig(peer, case, Path(directory) / str(number)))
            stack.callback(rigs[-1].close)
        lives = loops.run(run_fleet(rigs, trace))
    return [relate(name, peer.name, life, ideal) for peer, life in zip(peers, lives, strict=True)]


def geometric(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def table(figures: Sequence[Figures]) -> str:
    """Return a Markdown table, fleets down, peers across: mean / p99 / cold, geometric means over the seeds."""
    peers = list(dict.fromkeys(one.peer for one in figures))
    lines = [f"| mean / p99 / cold | {' | '.join(peers)} |", "|---" * (len(peers) + 1) + "|"]
    for fleet in dict.fromkeys(one.fleet for one in figures):
        cells = [_cell([one for one in figures if (one.fleet, one.peer) == (fleet, peer)]) for peer in peers]
        lines.append(f"| {fleet} | {' | '.join(cells)} |")
    cells = [_cell([one for one in figures if one.peer == peer]) for peer in peers]
    return "\n".join([*lines, f"| **geometric mean** | {' | '.join(cells)} |"])


def _cell(ones: Sequence[Figures]) -> str:
    text = " / ".join(f"{geometric([getattr(one, name) for one in ones]):.2f}" for name in ("mean", "p99", "cold"))
    failed = sum(one.failed for one in ones)
    return f"{text}, {failed} failed" if failed else text


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.latency", description="Live latency beside the ideal queue.")
    parser.add_argument("--fleet", action="append", choices=list(FLEETS), help="repeatable; default: most of them")
    parser.add_argument("--peer", action="append", choices=[peer.name for peer in LIVE_PEERS], help="repeatable")
    parser.add_argument("--requests", type=at_least(2), default=1200)
    parser.add_argument("--seeds", type=at_least(1), default=1)
    parser.add_argument("--out", type=Path, help="write the table here")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # so that the children are ended
    peers = [peer for peer in LIVE_PEERS if not options.peer or peer.name in options.peer]
    figures = []
    for name in options.fleet or LIVE_FLEETS:
        for seed in range(options.seeds):
            began = time.monotonic()
            figures += compare(name, seed, options.requests, peers)
            print(f"{name}, seed {seed}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(table(figures))
    if options.out:
        options.out.write_text(table(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
