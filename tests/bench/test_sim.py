import json
from pathlib import Path

import pytest

from bench import sim
from bench.sim_cost import decision_us
from bench.sim_engine import Ideal
from bench.sim_fleets import FLEETS
from ocr_tcp_lb.balance import Outcome


@pytest.mark.parametrize("fleet", FLEETS)
@pytest.mark.parametrize("variant", sim.VARIANTS)
def test_no_fleet_and_no_policy_loses_a_request(fleet: str, variant: str) -> None:
    case = FLEETS[fleet]
    requests = sim.run(case, sim.scheduler(case, variant, 1), 1, 60)
    assert all(request.outcome is not None and request.latency_s > 0 for request in requests)


def test_the_same_seed_gives_the_same_run() -> None:
    case = FLEETS["12 mixed"]
    runs = [sim.run(case, sim.scheduler(case, "queue/auto", 3), 3, 300) for _ in range(2)]
    assert sim.mean_s(runs[0]) == sim.mean_s(runs[1])


def test_an_unloaded_ideal_takes_the_service_time() -> None:
    case = FLEETS["equal, constant"]
    requests = sim.run(case, Ideal(case), 1, 20)  # type: ignore[arg-type]
    assert requests[0].latency_s == pytest.approx(0.25, rel=0.06)


@pytest.mark.parametrize("fleet", ["equal", "4 at once", "one 3x slower", "one 10x slower", "bimodal"])
def test_told_limits_reach_the_ideal(fleet: str) -> None:
    figures = sim.compare(FLEETS[fleet], "queue/told", sim.ideals(FLEETS[fleet], 1, 1500), 1500)
    assert figures.mean <= 1.02
    assert figures.p99 <= 1.05


@pytest.mark.parametrize("fleet", ["equal", "4 at once, constant", "bimodal", "burst"])
def test_learned_limits_come_near_the_ideal(fleet: str) -> None:
    figures = sim.compare(FLEETS[fleet], "queue/auto", sim.ideals(FLEETS[fleet], 1, 1500), 1500)
    assert figures.mean <= 1.10
    assert figures.cold <= 1.35


def test_few_requests_see_a_backend_that_fails_fast() -> None:
    case = FLEETS["500 in 2 ms"]
    requests = sim.run(case, sim.scheduler(case, "queue/auto", 1), 1, 1500)
    assert sum(request.outcome is Outcome.SERVER_ERROR for request in requests) <= 5


def test_few_requests_wait_for_a_backend_that_hangs() -> None:
    case = FLEETS["hang"]
    requests = sim.run(case, sim.scheduler(case, "queue/auto", 1), 1, 1500)
    assert sum(request.outcome is Outcome.SILENT for request in requests) <= 3


def test_size_order_beats_the_ideal_fifo_on_a_mix_of_sizes_and_makes_few_late() -> None:
    case = FLEETS["bimodal"]
    figures = sim.compare(case, "queue/told/size", sim.ideals(case, 2, 4000), 4000)
    assert figures.mean <= 0.85
    assert figures.p99 <= 1.05


def test_a_large_fleet_decides_about_as_cheaply_as_a_small_one() -> None:
    small, large = (min(decision_us(n, waiting, 1500) for _ in range(2)) for n, waiting in ((3, 10), (300, 1000)))
    assert large <= 3 * small  # loose, because test machines are busy; `python -m bench.sim --cost` measures


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures.json"
    arguments = ["--fleet", "equal", "--policy", "queue/told", "--seeds", "1", "--requests", "500", "--json", str(path)]
    assert sim.main(arguments) == 0
    assert "| equal | 1.0" in capsys.readouterr().out
    assert json.loads(path.read_text())[0]["fleet"] == "equal"


def test_too_few_requests_are_refused_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sim.main(["--fleet", "equal", "--requests", "400", "--seeds", "1"])
    assert "--requests 400 is too few: the first 400 are left out; write more than that" in capsys.readouterr().err
