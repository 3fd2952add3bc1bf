"""The live comparison's own arithmetic, and one small run of it."""

import json
from pathlib import Path

import pytest

from bench import latency
from bench.latency import TIME_SCALE, live_case, relate, table
from bench.live_peers import LIVE_PEERS, Site
from bench.live_workers import from_json, to_json
from bench.sim_engine import Request
from bench.sim_fleets import FLEETS, Arrival


def test_workers_are_the_same_after_the_command_line() -> None:
    for case in FLEETS.values():
        assert tuple(from_json(to_json(case.workers))) == case.workers
    assert json.loads(to_json(())) == []


def test_a_live_fleet_is_the_simulated_one_in_faster_time() -> None:
    case = FLEETS["kill and return"]
    live = live_case(case, 400)
    assert live.workers[0].service_s == pytest.approx(case.workers[0].service_s * TIME_SCALE)
    share = 400 / latency.TRACE_LENGTH
    assert live.workers[3].faults.dead_from == pytest.approx(case.workers[3].faults.dead_from * TIME_SCALE * share)
    slow, fast = case.trace(0, 400)[-1].at, live.trace(0, 400)[-1].at
    assert fast == pytest.approx(slow * TIME_SCALE)


@pytest.mark.parametrize("fleet", latency.LIVE_FLEETS)
def test_no_live_fleet_is_sent_more_than_a_small_machine_carries(fleet: str) -> None:
    trace = live_case(FLEETS[fleet], 400).trace(0, 400)
    assert 400 / trace[-1].at <= latency.MOST_A_SECOND * 1.2


def test_figures_leave_the_cold_start_out_and_count_what_failed() -> None:
    ideal = [Request(Arrival(0.0, 1.0, 1), done_at=1.0) for _ in range(8)]
    lives = [(4.0, True)] * 4 + [(1.5, True)] * 3 + [(1.5, False)]
    figures = relate("f", "p", lives, ideal)
    assert (figures.mean, figures.p99, figures.cold, figures.failed) == (1.5, 1.5, 4.0, 1)
    assert "| f | 1.50 / 1.50 / 4.00, 1 failed |" in table([figures])


def test_all_peers_give_up_a_hanging_worker_after_the_same_time(tmp_path: Path) -> None:
    case = live_case(FLEETS["hang"], 400)
    site = Site(1, case.workers, (2, 3, 4, 5), tmp_path, latency.response_timeout_s(case))
    texts = []
    for peer in LIVE_PEERS:
        words = peer.command(site)
        texts.append(" ".join(words) + "".join(path.read_text() for path in tmp_path.iterdir()))
        for path in tmp_path.iterdir():
            path.unlink()
    timeouts = ("--response-timeout 4 ", "timeout server 4000ms", "proxy_read_timeout 4000ms;")
    assert all(any(timeout in text for timeout in timeouts) for text in texts)
    assert latency.response_timeout_s(FLEETS["equal"]) == 60.0


def test_a_small_run_answers_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table.md"
    words = ["--fleet", "equal", "--requests", "12", "--peer", "ours", "--out", str(out)]
    assert latency.main(words) == 0
    assert "failed" not in out.read_text()
    assert out.read_text() in capsys.readouterr().out
