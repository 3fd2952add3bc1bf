"""The reconciliation finds each kind of lie; otherwise a chaos run that passes would say nothing."""

import json

import pytest

from .books import LEFT, Break, Entry, Outcome, Run, agree, reconcile, runs_of

GOOD = Outcome("j", "POST", 200, "b1")
FAILED = Outcome("j", "POST", 502)
KILL = Break("b1", 10.5, 10.6)


def entry(
    status: int = 200,
    backend: str = "b1",
    *,
    attempts: int = 1,
    ending: str = "ok",
    ended: float = 11.0,
    job: str = "j",
) -> Entry:
    return Entry(job, status, backend, attempts, ending, began=10.0, connected=10.2, ended=ended)


def run(ending: str = "end", worker: str = "b1", job: str = "j") -> Run:
    return Run(job, worker, began=10.3, ending=ending, ended=10.55)


ACCOUNTED = {
    "served": (GOOD, entry(), [run()], []),
    "running when its worker was killed": (FAILED, entry(502), [run("cut")], [KILL]),
    "killed with its worker before it was read": (FAILED, entry(502), [], [KILL]),
    "done, and the worker killed before the reply was out": (FAILED, entry(502), [run()], [KILL]),
    "its worker lied": (FAILED, entry(502), [run("broke")], []),
    "error": (Outcome("j", "POST", 500), entry(500), [run("error")], []),
    "tried again": (Outcome("j", "GET", 200, "b2"), entry(200, "b2", attempts=2), [run("error"), run("end", "b2")], []),
    "left while it ran": (Outcome("j", "POST", LEFT), entry(0, ending="client_left"), [run()], []),
}
UNACCOUNTED = {
    "it failed, and nothing": [
        (FAILED, entry(502), [], []),
        (FAILED, entry(502), [], [Break("b2", 10.5, 10.6)]),
        (FAILED, entry(502), [], [Break("b1", 9.0, 9.1)]),  # before it had the connection
        (FAILED, entry(502), [], [Break("b1", 12.0, 12.1)]),  # after the client was told
        (FAILED, entry(502, ended=13.0), [], [KILL]),  # long before
        (Outcome("j", "POST", 503), entry(503), [], [KILL]),
        (Outcome("j", "POST", 504), entry(504), [], [KILL]),
        (Outcome("j", "POST", 500), entry(500), [run("broke")], []),
    ],
    "it ran twice": [(GOOD, entry(attempts=2), [run(), run("cut", "b2")], [KILL])],
    "more often than it was tried": [(Outcome("j", "GET", 200, "b1"), entry(), [run(), run("error", "b2")], [])],
    "its reply came from nowhere": [
        (GOOD, entry(), [], []),
        (GOOD, entry(), [run("end", "b2")], []),
        (GOOD, entry(200, "b2"), [run()], []),
    ],
    "something else than the client": [(GOOD, entry(502), [run()], [])],
    "no end, and its worker lived": [(FAILED, entry(502), [run("cut")], [Break("b1", 9.0, 9.1)])],
    "a reply was lost": [(FAILED, entry(502), [run()], [Break("b1", 11.0, 11.0)])],
    "after its client had been told": [
        (FAILED, entry(502, ended=10.2), [run("cut")], [KILL]),
    ],
    "could have been tried again": [(Outcome("j", "GET", 502), entry(502), [run("cut")], [KILL])],
}


@pytest.mark.parametrize("case", ACCOUNTED)
def test_what_has_a_cause_is_accounted_for(case: str) -> None:
    outcome, line, runs, breaks = ACCOUNTED[case]
    reconcile([outcome], runs, breaks, [line])


@pytest.mark.parametrize(
    ("fault", "number"), [(fault, n) for fault, all in UNACCOUNTED.items() for n in range(len(all))]
)
def test_what_has_none_is_found(fault: str, number: int) -> None:
    outcome, line, runs, breaks = UNACCOUNTED[fault][number]
    with pytest.raises(AssertionError, match=fault):
        reconcile([outcome], runs, breaks, [line])


def test_each_request_has_one_outcome_and_one_line() -> None:
    with pytest.raises(AssertionError, match="two lines"):
        reconcile([GOOD], [run()], [], [entry(), entry()])
    with pytest.raises(AssertionError, match="two outcomes"):
        reconcile([GOOD, GOOD], [run()], [], [entry()])
    with pytest.raises(AssertionError, match="different requests"):
        reconcile([GOOD], [run()], [], [])
    with pytest.raises(AssertionError, match="nobody sent"):
        reconcile([GOOD], [run(), run(job="k")], [], [entry()])


def test_journal_tells_runs_and_what_a_life_left_open() -> None:
    lines = ["serving - 1.0", "start a 2.0", "start b 2.5", "end a 3.0", "serving - 4.0", "start b 5.0", "error b 6.0"]
    assert runs_of("b1", "\n".join(lines)) == [
        Run("a", "b1", 2.0, "end", 3.0),
        Run("b", "b1", 2.5),
        Run("b", "b1", 5.0, "error", 6.0),
    ]
    with pytest.raises(AssertionError, match="still runs"):
        runs_of("b1", "serving - 1.0\nstart a 2.0")


def test_line_of_the_log_tells_when_the_backend_had_the_request() -> None:
    line = {"time": "1970-01-01T00:01:40.500Z", "id": "j", "status": 502, "backend": "b1", "attempts": 2}
    line |= {"queue_ms": 100.0, "connect_ms": 50.0, "first_byte_ms": None, "total_ms": 500.0, "end": "backend_broke"}
    read = Entry.of(json.loads(json.dumps(line)))
    assert (read.began, read.connected, read.ended) == pytest.approx((100.0, 100.15, 100.5))
    assert (read.status, read.attempts, read.ending) == (502, 2, "backend_broke")


def test_counts_that_differ_are_found() -> None:
    samples = {
        'ocr_tcp_lb_requests_total{backend="b1",status="200",ending="ok"}': 1.0,
        "ocr_tcp_lb_retries_total": 0.0,
        "ocr_tcp_lb_queue_length": 0.0,
        'ocr_tcp_lb_backend_in_flight{backend="b1"}': 0.0,
    }
    agree([GOOD], [entry()], samples)
    for name in samples:
        with pytest.raises(AssertionError):
            agree([GOOD], [entry()], samples | {name: samples[name] + 1})
    with pytest.raises(AssertionError):
        agree([FAILED], [entry()], samples)
