"""2,000 requests (100,000 with `-m chaos`) while workers die, stop, restart, fail and lie, on a seeded schedule.

Afterwards everybody's books are compared: what the clients saw, what the workers noted, the access log and the metrics.
The only failures allowed are those of requests that were running at a worker when it broke and must not run twice.
"""

import asyncio
import json
import random
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .fleet import SLOTS, Balancer, Worker
from .load import Load, Outcome

EVERY = 60  # requests between two events
Event = tuple[str, Callable[[], object], Callable[[], object]]


class Chaos:
    """One trouble after the other, each undone before the next, by the number of requests answered."""

    def __init__(self, workers: list[Worker], balancer: Balancer, seed: int) -> None:
        self._workers = workers
        self._balancer = balancer
        self._rng = random.Random(seed)
        self._undo: Callable[[], object] | None = None
        self._bag: list[str] = []
        self.happened: Counter[str] = Counter()
        self._pool: list[asyncio.Future[object]] = []

    def on_answer(self, count: int) -> None:
        """Do what is due."""
        if count % EVERY == 0:
            self._pool.append(asyncio.ensure_future(asyncio.to_thread(self._next)))

    def _next(self) -> None:
        if self._undo is not None:
            undo, self._undo = self._undo, None
            undo()
            return
        self._bag = self._bag or self._rng.sample(KINDS, len(KINDS))
        kind = self._bag.pop()
        self.happened[kind] += 1
        self._undo = self._trouble(kind, self._rng.choice(self._workers[:3]))

    def _trouble(self, kind: str, worker: Worker) -> Callable[[], object]:
        first, balancer = self._workers[:3], self._balancer
        match kind:
            case "kill":
                worker.kill()
                return worker.start
            case "stop":
                worker.signal(signal.SIGSTOP)
                return lambda: worker.signal(signal.SIGCONT)
            case "all down":
                for one in first:
                    one.kill()
                return self._revive_at_once(first)
            case "drain":
                balancer.control("drain", worker.name)
                return lambda: balancer.control("undrain", worker.name)
            case "reload":
                balancer.configure(self._workers)
                balancer.control("reload")
                return lambda: (balancer.configure(first), balancer.process.signal(signal.SIGHUP))
            case _:
                worker.behave(kind)
                return lambda: worker.behave("ok")

    @staticmethod
    def _revive_at_once(workers: list[Worker]) -> Callable[[], object]:
        """With nobody left no answer would come to count on."""
        for one in workers:
            one.start()
        return lambda: None

    async def settle(self) -> None:
        """Wait for what is under way, and put everything right."""
        await asyncio.gather(*self._pool)
        if self._undo is not None:
            await asyncio.to_thread(self._undo)


KINDS = ["kill", "stop", "all down", "drain", "reload", "error", "truncate", "reset", "slow"]


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
    await chaos.settle()
    status = json.loads(await admin(balancer, "/status.json"))
    metrics = (await admin(balancer, "/metrics")).decode()
    assert balancer.process.end() == 0
    assert "Traceback" not in balancer.process.stderr_path.read_text()
    assert set(chaos.happened) == set(KINDS), "a schedule too short to say anything"
    assert [status["in_flight"], status["waiting"]] == [0, 0]
    records = [json.loads(line) for line in balancer.process.stdout_path.read_text().splitlines()]
    reconcile(load.outcomes, workers, records)
    failed = Counter(one.status for one in load.outcomes if one.status != 200)
    print(f"{requests} requests, {sum(failed.values())} failed: {dict(failed)}; {dict(chaos.happened)}")
    assert sum(failed.values()) <= most_failures(chaos.happened)
    agree(load.outcomes, records, status, metrics)


def most_failures(happened: Counter[str]) -> int:
    """One for each slot that was taken when a worker broke; one that lies is found out after two more."""
    killed = happened["kill"] + 3 * happened["all down"]
    lying = happened["error"] + happened["truncate"] + happened["reset"]
    return SLOTS * killed + (SLOTS + 2) * lying


async def admin(balancer: Balancer, path: str) -> bytes:
    reader, writer = await asyncio.open_unix_connection(balancer.admin.path)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 200"), head
    return body


def reconcile(outcomes: list[Outcome], workers: list[Worker], records: list[dict[str, object]]) -> None:
    """Job by job: one outcome, one record, and no run that nobody can explain."""
    journals = {worker.name: Counter(worker.journal.read_text().splitlines()) for worker in workers}
    starts: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for journal in journals.values():
        for line, times in journal.items():
            event, job = line.split(" ")
            (starts if event == "start" else ends)[job] += times
    killed = {worker.name for worker in workers if worker.kills}
    record_of = {record["id"]: record for record in records}
    assert len(record_of) == len(records) == len(outcomes) == len({one.job for one in outcomes})
    assert set(starts) <= set(record_of), "a worker ran what nobody sent"
    for one in outcomes:
        record, about = (
            record_of[one.job],
            f"{one} {record_of[one.job]} {[w for w in journals if journals[w][f'start {one.job}']]}",
        )
        assert record["status"] == one.status or (one.status == 0 and record["end"] == "broken_reply"), about
        assert starts[one.job] <= record["attempts"], about
        if one.method == "POST":
            assert starts[one.job] <= 1, f"run twice: {about}"
        if one.status == 200:
            assert journals[one.worker][f"end {one.job}"] == 1, about
            continue
        journal = journals[str(record["backend"])]
        was_unread = one.status == 502 and record["backend"] in killed  # sent, and killed with it before it was read
        assert was_unread or journal[f"start {one.job}"] == 1, f"failed, and was not running: {about}"
        assert not journal[f"end {one.job}"] or is_unfinished_reply(one), about
        lied = journal[f"error {one.job}"] + journal[f"broke {one.job}"]  # passed on while no other was in service
        assert one.method == "POST" or record["attempts"] >= 2 or lied, f"could have been tried again: {about}"


def is_unfinished_reply(outcome: Outcome) -> bool:
    """The worker had noted its end, and was killed before the reply was out."""
    return outcome.status in (0, 502)


def agree(outcomes: list[Outcome], records: list[dict[str, object]], status: dict[str, object], metrics: str) -> None:
    """Clients, log, status page and metrics count the same."""
    seen = Counter(one.status for one in outcomes)
    logged = Counter(record["status"] if record["end"] != "broken_reply" else 0 for record in records)
    assert seen == logged
    assert status["requests"] == len(outcomes)
    counted = sum(float(n) for n in re.findall(r"^ocr_tcp_lb_requests_total\{[^}]*\} (\S+)$", metrics, re.MULTILINE))
    assert counted == len(outcomes)
