"""One trouble at a time, and what users are promised in it; the longer forms are marked `soak`."""

import asyncio
import os
import signal
import time
from collections import Counter

import pytest

from ocr_tcp_lb.balance.hedge import LEAST_S as HEDGED_AFTER_S
from ocr_tcp_lb.balance.silence import LEAST_S
from ocr_tcp_lb.relay.probe import LOOK_S

from .books import reconcile, runs_of
from .conftest import StartBalancer
from .fleet import SLOTS, Balancer, Worker
from .load import CLIENTS, PATIENCE_S, Load

BUSY_MACHINE_S = 1.0
MOST_GROWTH_KIB = 4096  # in the second half, when all that is kept for reuse is there
REPLAY = "replay_post = true"


async def under_load(balancer: Balancer) -> tuple[Load, asyncio.Task[None]]:
    """Clients that go on until they are stopped, and stay for their replies."""
    load = Load(balancer.port, 1_000_000, 1, leave=0.0)
    running = asyncio.ensure_future(load.run())
    await load.wait_for(5 * CLIENTS)
    return load, running


def statuses(load: Load) -> Counter[int]:
    return Counter(one.status for one in load.outcomes)


def compare_books(load: Load, workers: list[Worker], balancer: Balancer) -> None:
    runs = [run for worker in workers for run in runs_of(worker.name, worker.journal.read_text())]
    breaks = [one for worker in workers for one in worker.breaks]
    reconcile(load.outcomes, runs, breaks, balancer.end())


async def test_kill_and_restart_of_one_costs_no_more_than_what_ran_there(
    workers: list[Worker], balancer: Balancer
) -> None:
    load, running = await under_load(balancer)
    await asyncio.to_thread(workers[1].kill)
    await load.wait_for(300)
    await asyncio.to_thread(balancer.process.wait_for, r"WARNING backend b2 is ejected for 0\.[45] s: ")
    await asyncio.to_thread(workers[1].start)
    await asyncio.to_thread(balancer.process.wait_for, "INFO backend b2 is back after ")
    await load.wait_for(300)
    load.stop()
    await running
    seen = statuses(load)
    assert seen.total() - seen[200] <= SLOTS
    compare_books(load, workers, balancer)


async def test_rolling_restart_by_draining_costs_nothing(workers: list[Worker], balancer: Balancer) -> None:
    load, running = await under_load(balancer)
    for worker in workers[:3]:
        await asyncio.to_thread(balancer.control, "drain", worker.name)
        while (await balancer.metrics())[f'ocr_tcp_lb_backend_in_flight{{backend="{worker.name}"}}']:
            await load.wait_for(1)
        await asyncio.to_thread(worker.kill)
        await load.wait_for(100)
        await asyncio.to_thread(worker.start)
        await asyncio.to_thread(balancer.control, "undrain", worker.name)
        served = len(worker.journal.read_text())
        while len(worker.journal.read_text()) == served:  # it is used again before the next one goes
            await load.wait_for(10)
    load.stop()
    await running
    assert statuses(load).keys() == {200}
    assert {entry.attempts for entry in balancer.end()} == {1}


@pytest.mark.parametrize(("settings", "most"), [((), 5), ((REPLAY,), 0)], ids=["post once", "replay"])
async def test_worker_that_answers_500_at_once_is_seen_by_hardly_anybody(
    workers: list[Worker], start_balancer: StartBalancer, settings: tuple[str, ...], most: int
) -> None:
    workers[1].behave("error")
    balancer = start_balancer(*settings)
    load = Load(balancer.port, 1_200, 1, leave=0.0)
    await load.run()
    seen = statuses(load)
    assert seen.keys() <= {200, 500}
    assert seen[500] <= most
    assert "error" in workers[1].journal.read_text(), "it was tried"


async def stop_at_work(worker: Worker, balancer: Balancer, load: Load) -> None:
    """Stop it at a moment when it has something to do; whoever has nothing is not found out, and in nobody's way."""
    in_flight = f'ocr_tcp_lb_backend_in_flight{{backend="{worker.name}"}}'
    while True:
        worker.signal(signal.SIGSTOP)
        looks = [(await balancer.metrics())[in_flight] for _ in range(3)]  # its last replies may be on their way
        if looks[-1]:
            return
        worker.signal(signal.SIGCONT)
        await load.wait_for(10)


async def test_hanging_worker_is_found_out_and_nobody_waits_behind_it(
    workers: list[Worker], balancer: Balancer
) -> None:
    load, running = await under_load(balancer)
    await stop_at_work(workers[0], balancer, load)
    stopped = time.monotonic()
    while not (await balancer.metrics())['ocr_tcp_lb_backend_silent{backend="b1"}']:
        assert time.monotonic() - stopped < PATIENCE_S
    assert time.monotonic() - stopped < LEAST_S + 2 * LOOK_S + BUSY_MACHINE_S
    await load.wait_for(300)
    workers[0].signal(signal.SIGCONT)
    await load.wait_for(300)
    load.stop()
    await running
    assert statuses(load).keys() == {200}
    entries = balancer.end()
    waited = [entry for entry in entries if entry.ended - entry.began > BUSY_MACHINE_S]
    assert 1 <= len(waited) <= SLOTS
    assert {entry.backend for entry in waited} == {"b1"}, "only who was there already"


async def test_hedged_requests_do_not_wait_for_a_worker_that_hangs(
    workers: list[Worker], start_balancer: StartBalancer
) -> None:
    balancer = start_balancer("hedge = true", 'policy = "round-robin"')  # so that it surely gets some
    load = Load(balancer.port, 1_000_000, 1, leave=0.0, gets=1.0, clients=SLOTS + 2)
    running = asyncio.ensure_future(load.run())
    await load.wait_for(100)
    workers[0].signal(signal.SIGSTOP)
    while not (await balancer.metrics())['ocr_tcp_lb_backend_in_flight{backend="b1"}']:
        await load.wait_for(1)
    taken = load.unanswered
    await load.wait_for(300)
    async with asyncio.timeout(PATIENCE_S):
        while taken & load.unanswered:
            await load.wait_for(1)
    load.stop()
    await running
    assert statuses(load).keys() == {200}
    in_flight = (await balancer.metrics())['ocr_tcp_lb_backend_in_flight{backend="b1"}']
    assert 1 <= in_flight <= SLOTS, "it still has them"
    workers[0].signal(signal.SIGCONT)
    metrics = await balancer.rested()
    entries = balancer.end()
    assert metrics["ocr_tcp_lb_hedges_total"] == metrics["ocr_tcp_lb_retries_total"] == in_flight
    hedged = [entry for entry in entries if entry.attempts == 2]
    assert len(hedged) == in_flight
    assert all(HEDGED_AFTER_S <= entry.ended - entry.began < HEDGED_AFTER_S + 1 + BUSY_MACHINE_S for entry in hedged)
    assert not {entry.backend for entry in hedged} & {"b1"}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("outage_s", [2.0, pytest.param(20.0, marks=pytest.mark.soak)])
async def test_all_down_and_back_serves_everybody_who_came_meanwhile(
    workers: list[Worker], balancer: Balancer, outage_s: float
) -> None:
    for worker in workers[:3]:
        worker.kill()
    load = Load(balancer.port, 10 * CLIENTS, 1, leave=0.0)
    running = asyncio.ensure_future(load.run())
    await asyncio.sleep(outage_s)
    assert not load.outcomes, "nobody was told anything"
    first = asyncio.ensure_future(load.wait_for(CLIENTS))
    for worker in workers[:3]:
        await asyncio.to_thread(worker.start)
    back = time.monotonic()
    await first
    assert time.monotonic() - back < BUSY_MACHINE_S + 1.0, "a check or a trial finds it soon"
    await running
    assert statuses(load) == {200: 10 * CLIENTS}
    compare_books(load, workers, balancer)


def descriptors(balancer: Balancer) -> int:
    return len(os.listdir(f"/proc/{balancer.process.pid}/fd"))


@pytest.mark.timeout(300)
@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs Linux's /proc")
@pytest.mark.parametrize("reloads", [100, pytest.param(2_000, marks=pytest.mark.soak)])
async def test_reloads_in_a_row_under_load_lose_nothing_and_leak_nothing(
    workers: list[Worker], balancer: Balancer, reloads: int
) -> None:
    at_rest = descriptors(balancer)
    load, running = await under_load(balancer)
    warm_kib = 0
    for number in range(reloads):
        balancer.configure(workers if number % 2 == 0 else workers[:3])
        await asyncio.to_thread(balancer.control, "reload")
        await load.wait_for(5)
        if number == reloads // 2:
            warm_kib = balancer.process.memory_kib()["VmRSS"]
    grown_kib = balancer.process.memory_kib()["VmRSS"] - warm_kib
    load.stop()
    await running
    metrics = await balancer.rested()
    async with asyncio.timeout(5):
        while metrics["ocr_tcp_lb_connections"] or descriptors(balancer) > at_rest:  # idle ones are kept for 1 s
            metrics = await balancer.metrics()
    print(f"{reloads} reloads, {len(load.outcomes)} requests, {grown_kib} KiB more in the second half")
    assert statuses(load).keys() == {200}
    assert grown_kib < MOST_GROWTH_KIB
    assert "b4" in {one.worker for one in load.outcomes}
    names = {name for name in metrics if name.startswith("ocr_tcp_lb_backend_in_flight{")}
    assert len(names) == 3
    compare_books(load, workers, balancer)
