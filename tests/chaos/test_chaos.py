"""2,000 requests (100,000 with `-m chaos`) while workers die, stop, refuse, fail and lie, on a seeded schedule.

Afterwards everybody's books are compared (`books`): what the clients saw, what the workers noted, the access log and
the metrics. The only failures allowed are those of requests that were running at a worker when it broke and must not
run twice, or that it answered badly.
"""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from .books import LEFT, Entry, agree, reconcile, runs_of
from .fleet import SLOTS, Balancer, Worker
from .load import PATIENCE_S, Load
from .schedule import OPERATIONS, TROUBLES, Chaos

GHOSTS_END_S = 35.0  # those of clients that left; more than the response time-out


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[Worker]]:
    started: list[Worker] = []
    try:
        for number in range(1, 5):
            started.append(Worker(f"b{number}", tmp_path))
            started[-1].start()
        yield started
    finally:
        for worker in started:
            worker.close()


@pytest.fixture
def balancer(tmp_path: Path, workers: list[Worker]) -> Iterator[Balancer]:
    balancer = Balancer(tmp_path, workers[:3])
    try:
        yield balancer
    finally:
        balancer.close()


@pytest.mark.timeout(120)
async def test_nothing_is_lost_and_nothing_doubled(workers: list[Worker], balancer: Balancer) -> None:
    await run(workers, balancer, requests=2_000, seed=1)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [2, 3])
async def test_nothing_is_lost_and_nothing_doubled_for_long(
    workers: list[Worker], balancer: Balancer, seed: int
) -> None:
    await run(workers, balancer, requests=50_000, seed=seed)


async def run(workers: list[Worker], balancer: Balancer, requests: int, seed: int) -> None:
    chaos = Chaos(workers, balancer, seed)
    load = Load(balancer.port, requests, seed, chaos.on_answer)
    await load.run()
    await asyncio.to_thread(chaos.end)
    status = await rested(balancer)
    metrics = samples((await admin(balancer, "/metrics")).decode())
    assert balancer.process.end() == 0
    assert "Traceback" not in balancer.process.stderr_path.read_text()
    assert chaos.happened.keys() == {*TROUBLES, *OPERATIONS}, "a schedule too short to say anything"
    assert status["requests"] == len(load.outcomes) == requests
    lines = balancer.process.stdout_path.read_text().splitlines()
    entries = [Entry.of(json.loads(line)) for line in lines]
    runs = [run for worker in workers for run in runs_of(worker.name, worker.journal.read_text())]
    breaks = [one for worker in workers for one in worker.breaks]
    reconcile(load.outcomes, runs, breaks, entries)
    agree(load.outcomes, entries, metrics)
    failed = Counter(one.status for one in load.outcomes if one.status not in (200, LEFT))
    print(f"{requests} requests, {sum(failed.values())} failed: {dict(failed)}; {dict(chaos.happened)}")
    assert sum(failed.values()) <= most_failures(chaos.happened)


def most_failures(happened: Counter[str]) -> int:
    """One for each slot that was taken when a worker broke; one that lies is found out after two more."""
    killed = happened["kill"] + 3 * happened["all down"]
    lying = happened["error"] + happened["truncate"] + happened["reset"]
    return SLOTS * killed + (SLOTS + 2) * lying


async def rested(balancer: Balancer) -> dict[str, object]:
    """The state once nothing is in flight: workers still compute for clients that have left."""
    deadline = time.monotonic() + GHOSTS_END_S
    while True:
        status: dict[str, object] = json.loads(await admin(balancer, "/status.json"))
        if not status["in_flight"]:
            assert status["waiting"] == 0
            return status
        assert time.monotonic() < deadline, f"slots are still taken: {status}"


async def admin(balancer: Balancer, path: str) -> bytes:
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_unix_connection(balancer.admin.path)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    assert head.startswith(b"HTTP/1.1 200"), head
    return body


def samples(metrics: str) -> dict[str, float]:
    """The samples of a metrics page, by name and labels."""
    return {name: float(value) for name, value in re.findall(r"^([a-z]\S*) (\S+)$", metrics, re.MULTILINE)}
