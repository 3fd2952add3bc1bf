"""One of three services is killed under 50 parallel clients and comes back: who may notice, and who may not."""

import json
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from e2e.conftest import PATHS, StartBalancer, StartService

CLIENTS = 50
SLOTS = 8  # told concurrency a service
BEFORE_KILL, BEFORE_RETURN = 150, 400  # requests answered
WORK_S = "0.03"
DEADLINE_S = 30.0


@pytest.fixture
def port() -> Iterator[int]:
    """A port that stays ours while the service on it is down: bound, never listening, so connecting is refused."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@dataclass
class Load:
    """50 clients that post one job after the other until told to stop, and what became of each job."""

    url: str
    outcome: dict[str, str] = field(default_factory=dict)  # job -> name of the service, or what went wrong
    stopping: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def run_client(self, client: int) -> None:
        with requests.Session() as session:
            for number in range(1_000_000):
                if self.stopping.is_set():
                    return
                self.post(session, f"job-{client}-{number}")

    def post(self, session: requests.Session, job: str) -> None:
        try:
            reply = session.post(
                f"{self.url}/", data=job, headers={"Job": job, "X-Request-Id": job}, timeout=DEADLINE_S
            )
            result = reply.json()["service"] if reply.status_code == 200 else f"status {reply.status_code}"
        except requests.RequestException as error:
            result = f"no answer: {type(error).__name__}"
        with self.changed:
            self.outcome[job] = result
            self.changed.notify_all()

    def wait_for(self, answers: int, service: str = "") -> None:
        """Until this many more jobs were answered (by this service)."""

        def count() -> int:
            return sum(not service or result == service for result in self.outcome.values())

        with self.changed:
            wanted = count() + answers
            assert self.changed.wait_for(lambda: count() >= wanted, DEADLINE_S), Counter(self.outcome.values())


def journal_of(path: Path) -> tuple[Counter[str], Counter[str]]:
    """How often each job was started and ended there."""
    entries = [line.split(" ") for line in path.read_text().splitlines()]
    started = Counter(job for event, job in entries if event == "start")
    return started, Counter(job for event, job in entries if event == "end")


def test_only_what_ran_on_a_killed_service_fails_and_nothing_runs_twice(
    start_balancer: StartBalancer, start_one: StartService, tmp_path: Path, port: int, loop_name: str
) -> None:
    journals = [tmp_path / f"journal{number}" for number in range(3)]
    about = [
        {"name": f"b{n + 1}", "path": path, "journal": str(journals[n]), "seconds": WORK_S}
        for n, path in enumerate(PATHS)
    ]
    about[1]["port"] = str(port)
    started = [start_one("flask-threaded", **one) for one in about]
    balancer = start_balancer([url for _, url in started], "--concurrency", str(SLOTS), "--loop", loop_name)
    load = Load(balancer.url)
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(load.run_client, client) for client in range(CLIENTS)]
        try:
            load.wait_for(BEFORE_KILL)
            started[1][0].end(signal.SIGKILL)
            load.wait_for(BEFORE_RETURN)
            start_one("flask-threaded", **about[1])
            load.wait_for(2 * SLOTS, service="b2")  # it is found again, and used
        finally:
            load.stopping.set()
    for client in clients:
        client.result()
    assert balancer.end() == 0  # so the log is complete
    reconcile(load.outcome, journals, balancer.stdout_path)


def reconcile(outcome: dict[str, str], journals: list[Path], access_log: Path) -> None:
    """Clients, services and log must tell one story, job by job."""
    ran = [journal_of(journal) for journal in journals]
    executions = Counter[str]()
    for starts, _ in ran:
        executions.update(starts)
    assert not [job for job, times in executions.items() if times > 1], "run twice"
    for job, result in outcome.items():
        if result.startswith("b"):
            assert ran[int(result[1:]) - 1][1][job] == 1, f"{job} was answered by {result}, which did not do it"
    failed = {job for job, result in outcome.items() if not result.startswith("b")}
    assert len(failed) <= SLOTS, Counter(outcome.values())
    records = {record["id"]: record for record in map(json.loads, access_log.read_text().splitlines())}
    assert set(records) == set(outcome)
    for job in failed:
        # Killed between a reply's head and its body, it leaves one that the client sees break off.
        was_cut = outcome[job] == "no answer: ChunkedEncodingError" and records[job]["end"] == "broken_reply"
        assert outcome[job] == "status 502" or was_cut, (outcome[job], records[job])
        assert records[job]["backend"] == "b2"
        assert ran[0][0][job] == ran[2][0][job] == 0, f"{job} failed, and ran elsewhere"
    assert all(records[job]["status"] == 200 for job in outcome if job not in failed)
