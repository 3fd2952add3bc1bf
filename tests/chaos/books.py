"""Everybody's books, compared request by request: what clients saw, what workers noted, what the access log says.

A request has one outcome and one line in the log. A run at a worker belongs to one request, and each run is accounted
for: it gave the client its reply, or it failed and was tried again where that was safe, or the worker broke meanwhile.
A failure needs a cause in the journal of the very worker that the log names: an error or a broken reply that this
worker gave on purpose, or a break of this worker between the moment when it got the request and the moment when the
client was told. Times are wall-clock seconds; all books are kept on one machine.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

LEFT = -1  # the status of a client that did not wait
CLOCKS_DIFFER_S = 0.05  # the log's stamps have milliseconds, and its clock is set once
NEWS_TAKES_S = 1.0  # from a worker's end to the client's being told, on a busy machine


@dataclass(frozen=True)
class Outcome:
    """What a client saw: a status, 0 for a reply that broke off or never came, or LEFT."""

    job: str
    method: str
    status: int
    worker: str = ""


@dataclass(frozen=True)
class Break:
    """A moment, known to lie between two, at which a worker lost what it had: killed, or its listener closed."""

    worker: str
    earliest: float
    latest: float

    def is_within(self, begin: float, end: float) -> bool:
        """Whether it can have happened then."""
        return self.latest >= begin - CLOCKS_DIFFER_S and self.earliest <= end + CLOCKS_DIFFER_S


@dataclass
class Run:
    """One execution of a request at a worker; it ended with `end`, `error` or `broke`, or with its worker: `cut`."""

    job: str
    worker: str
    began: float
    ending: str = "cut"
    ended: float = 0.0


@dataclass(frozen=True)
class Entry:
    """A line of the access log."""

    job: str
    status: int
    backend: str
    attempts: int
    ending: str
    began: float
    connected: float  # when the last attempt had its connection
    ended: float

    @classmethod
    def of(cls, line: Mapping[str, object]) -> "Entry":
        """Read one."""

        def seconds(name: str) -> float:
            value = line[name]
            assert value is None or isinstance(value, int | float)
            return (value or 0.0) / 1e3

        ended = datetime.fromisoformat(str(line["time"])).timestamp()
        began = ended - seconds("total_ms")
        attempts = line["attempts"]
        assert isinstance(attempts, int)
        status = 0 if line["end"] == "broken_reply" else int(str(line["status"] or 0))
        backend = str(line["backend"] or "-")
        connected = began + seconds("queue_ms") + seconds("connect_ms")
        return cls(str(line["id"]), status, backend, attempts, str(line["end"]), began, connected, ended)


def runs_of(worker: str, journal: str) -> list[Run]:
    """All runs of a journal; those that a life of the worker left open are cut, except in its last life."""
    runs: list[Run] = []
    open_runs: dict[str, Run] = {}
    for line in journal.splitlines():
        event, job, moment = line.split(" ")
        if event == "serving":
            open_runs.clear()
        elif event == "start":
            assert job not in open_runs, f"{worker} runs {job} twice at the same time"
            open_runs[job] = Run(job, worker, float(moment))
            runs.append(open_runs[job])
        else:
            run = open_runs.pop(job)
            run.ending, run.ended = event, float(moment)
    assert not open_runs, f"{worker} still runs {sorted(open_runs)}"
    return runs


def reconcile(
    outcomes: Sequence[Outcome], runs: Iterable[Run], breaks: Iterable[Break], entries: Sequence[Entry]
) -> None:
    """Compare; raises AssertionError about the first request that somebody cannot account for."""
    entry_of = {entry.job: entry for entry in entries}
    assert len(entry_of) == len(entries), "a request has two lines in the log"
    assert len({one.job for one in outcomes}) == len(outcomes), "a request has two outcomes"
    assert entry_of.keys() == {one.job for one in outcomes}, "the log and the clients speak of different requests"
    runs_by_job: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        runs_by_job[run.job].append(run)
    assert runs_by_job.keys() <= entry_of.keys(), "a worker ran what nobody sent"
    breaks_of: dict[str, list[Break]] = defaultdict(list)
    for one in breaks:
        breaks_of[one.worker].append(one)
    for outcome in outcomes:
        case = Case(outcome, entry_of[outcome.job], runs_by_job[outcome.job], breaks_of)
        fault = case.fault()
        assert fault is None, f"{fault}: {outcome} {case.entry} {case.runs}"


@dataclass(frozen=True)
class Case:
    """All that the books say of one request."""

    outcome: Outcome
    entry: Entry
    runs: Sequence[Run]
    breaks: Mapping[str, Sequence[Break]]

    def fault(self) -> str | None:
        """What is wrong with it, if anything is."""
        outcome, entry, runs = self.outcome, self.entry, self.runs
        if outcome.status not in (LEFT, entry.status):
            return "the log says something else than the client"
        if len(runs) > entry.attempts:
            return "it ran more often than it was tried"
        if outcome.method == "POST" and len(runs) > 1:
            return "it ran twice"
        replied = [run for run in runs if run.ending == "end"]
        delivered = [run for run in replied if run.worker == outcome.worker]
        if outcome.status == 200 and not (len(delivered) == 1 and entry.backend == outcome.worker):
            return "its reply came from nowhere"
        for run in runs:
            if run.ending == "cut" and not self._broke(run.worker, run.began, math.inf):
                return "a run has no end, and its worker lived"
            if outcome.status != LEFT and run.began > entry.ended + CLOCKS_DIFFER_S:
                return "it ran after its client had been told how it ended"
        lost = [] if outcome.status == LEFT else [run for run in replied if run not in delivered]
        for run in lost:
            if not self._broke(run.worker, run.ended, run.ended):
                return "a reply was lost, and its worker lived"
        return None if outcome.status in (200, LEFT) else self._fault_of_failure()

    def _fault_of_failure(self) -> str | None:
        outcome, entry = self.outcome, self.entry
        lied = [run for run in self.runs if run.ending in ("error", "broke")]
        last = [run for run in lied if run.worker == entry.backend]
        match outcome.status:
            case 500:
                is_explained = any(run.ending == "error" for run in last)
            case 0 | 502:
                is_explained = any(run.ending == "broke" for run in last) or self._was_there_when_it_broke()
            case _:
                is_explained = False  # nobody has to wait for so long, or is told that nobody is there
        if not is_explained:
            return "it failed, and nothing had happened to it"
        broken = sum(self._broke(worker, entry.began, entry.ended) for worker in self.breaks)
        if outcome.method == "GET" and not last and len(lied) + broken < 2:
            return "it failed once, and could have been tried again"  # but for `last`: nobody else was in service
        return None

    def _was_there_when_it_broke(self) -> bool:
        entry = self.entry
        return any(
            one.is_within(entry.connected, entry.ended) and entry.ended <= one.latest + NEWS_TAKES_S
            for one in self.breaks.get(entry.backend, ())
        )

    def _broke(self, worker: str, begin: float, end: float) -> bool:
        return any(one.is_within(begin, end) for one in self.breaks.get(worker, ()))


def agree(outcomes: Sequence[Outcome], entries: Sequence[Entry], samples: Mapping[str, float]) -> None:
    """Clients, log and metrics count the same; `samples` are those of the metrics page, by name and labels."""
    waited = {outcome.job for outcome in outcomes if outcome.status != LEFT}
    seen = Counter(outcome.status for outcome in outcomes if outcome.job in waited)
    assert seen == Counter(entry.status for entry in entries if entry.job in waited)
    endings = Counter((entry.backend, entry.ending) for entry in entries)
    counted: Counter[tuple[str, str]] = Counter()
    for name, value in samples.items():
        if name.startswith("ocr_tcp_lb_requests_total{"):
            labels = dict(pair.split("=") for pair in name.partition("{")[2].rstrip("}").split(","))
            counted[labels["backend"].strip('"'), labels["ending"].strip('"')] += int(value)
    assert counted == endings
    assert samples["ocr_tcp_lb_retries_total"] == sum(max(0, entry.attempts - 1) for entry in entries)
    assert samples["ocr_tcp_lb_queue_length"] == 0
    in_flight = {name: value for name, value in samples.items() if name.startswith("ocr_tcp_lb_backend_in_flight{")}
    assert in_flight
    assert not any(in_flight.values()), in_flight
