"""2,000 requests (100,000 with `-m chaos`) while workers die, stop, refuse, fail and lie, on a seeded schedule.

Afterwards everybody's books are compared (`books`): what the clients saw, what the workers noted, the access log and
the metrics. The only failures allowed are those of requests that were running at a worker when it broke and must not
run twice, or that it answered badly.
"""

import asyncio
from collections import Counter

import pytest

from .books import LEFT, agree, reconcile, runs_of
from .fleet import SLOTS, Balancer, Worker
from .load import Load
from .schedule import OPERATIONS, TROUBLES, Chaos


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
    metrics = await balancer.rested()
    entries = balancer.end()
    assert chaos.happened.keys() == {*TROUBLES, *OPERATIONS}, "a schedule too short to say anything"
    assert len(load.outcomes) == requests
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
