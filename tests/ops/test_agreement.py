"""Clients, access log, metrics and status agree exactly on what happened, failures among it."""

import asyncio
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from relay.support import Balancer, House, Message, post, reply

from ocr_tcp_lb.ops.accesslog import Clock, json_formatter
from ocr_tcp_lb.ops.intake import AccessLog
from ocr_tcp_lb.ops.outlet import Outlet
from ops.house import Watched, watched

CLIENTS = 16
BROKEN_OFF = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nno chunk\r\n"
Counts = Counter[tuple[str, str, str]]  # by backend, status and ending
Seen = Counter[int]  # by status; 0: the connection broke off


def answer(rng: random.Random, name: bytes) -> bytes:
    """Mostly well; sometimes an error of either side, nonsense, or half a reply."""
    kind = rng.random()
    if kind < 0.9:
        return reply(name * 10)
    if kind < 0.93:
        return reply(b"no", status=b"404 Not Found")
    if kind < 0.96:
        return reply(b"no", status=b"500 Broken")
    return b"nonsense\r\n\r\n" if kind < 0.98 else BROKEN_OFF


async def ask_all(lb: Balancer, jobs: "asyncio.Queue[int]", seen: Seen, connecting: asyncio.Lock) -> None:
    """One client, with a new connection for each request."""
    while not jobs.empty():
        number = jobs.get_nowait()
        async with connecting:
            client = await lb.client()
        await client.send(post(b"x" * (number % 50), b"Connection: close"))
        try:
            got: Message = await client.read_message()
            seen[got.status] += 1
        except (AssertionError, ConnectionError):
            seen[0] += 1
        client.close()


async def everything_agrees(house: House, tmp_path: Path, requests: int) -> None:
    rng = random.Random(3)
    backends = [house.backend() for _ in range(3)]
    for number, backend in enumerate(backends):
        name = b"%d" % number
        backend.answer(lambda request, name=name: answer(rng, name))  # type: ignore[misc]
    lb = house.balancer(backends, policy="round-robin", access_log="json", retries=0)
    seen: Seen = Counter()
    jobs: asyncio.Queue[int] = asyncio.Queue()
    for number in range(requests):
        jobs.put_nowait(number)
    log_path = tmp_path / "access.log"
    with log_path.open("w") as log:
        access_log = AccessLog(json_formatter(Clock()), Outlet(log.fileno()))
        async with watched(lb, access_log=access_log) as admin:
            async with asyncio.timeout(50):
                connecting = asyncio.Lock()
                await asyncio.gather(*(ask_all(lb, jobs, seen, connecting) for _ in range(CLIENTS)))
            admin.monitor.intake.close()
            compare(logged(log_path), seen, await metered(admin), requests)
            state = (await admin.ask("/status.json")).json
            assert f"{requests:,} so far" in (await admin.ask("/")).body.decode()
    assert state["requests"] == requests
    assert state["errors"] == seen[500] + seen[502] + seen[503] + seen[0]


def logged(path: Path) -> Counts:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return Counter((line["backend"] or "-", f"{line['status'] or 0:03d}", line["end"]) for line in lines)


async def metered(admin: Watched) -> Counts:
    text = (await admin.ask("/metrics")).body.decode()
    found = {family.name: family for family in text_string_to_metric_families(text)}
    durations = found["ocr_tcp_lb_request_duration_seconds"].samples
    samples = found["ocr_tcp_lb_requests"].samples
    counts = Counter({(s.labels["backend"], s.labels["status"], s.labels["ending"]): int(s.value) for s in samples})
    assert sum(s.value for s in durations if s.name.endswith("_count")) == counts.total()
    return counts


def compare(log: Counts, seen: Seen, meter: Counts, requests: int) -> None:
    assert log == meter
    assert seen.total() == log.total() == requests
    by_status: Seen = Counter()
    for (_, status, ending), count in log.items():
        by_status[0 if ending == "broken_reply" else int(status)] += count
    assert by_status == seen
    assert len(seen) >= 4, "failures of several kinds were among them"


async def test_everybody_counts_the_same(house: House, tmp_path: Path) -> None:
    await everything_agrees(house, tmp_path, 500)


@pytest.mark.soak
async def test_everybody_counts_the_same_10000_times(house: House, tmp_path: Path) -> None:
    await everything_agrees(house, tmp_path, 10_000)
