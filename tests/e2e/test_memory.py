"""What idle clients and large uploads cost in memory; figures of the balancer's own process, from Linux's /proc.

Short by default. OCR_TCP_LB_SOAK=full gives the sizes that users are promised: 5,000 idle clients, and 20 uploads of
200 MB at once. Run with `-m soak -s` to see the figures.
"""

import asyncio
import hashlib
import os
import random
import resource
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from e2e.conftest import StartBalancer, StartService
from e2e.processes import SERVICES, Child

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc"),
]

KIB, MIB = 1024, 1024 * 1024
SPARE_DESCRIPTORS = 200
MOST_KIB_A_CLIENT = 5
MOST_KIB_IN_ALL = 400 * KIB
PIECE = random.Random(5).randbytes(MIB)
REQUEST = b"GET / HTTP/1.1\r\nHost: lb\r\n\r\n"


@dataclass(frozen=True)
class Sizes:
    """How much is asked of the balancer."""

    idle_clients: int
    uploads: int
    upload_bytes: int


FULL, SHORT = Sizes(5_000, 20, 200_000_000), Sizes(1_000, 6, 40_000_000)
SIZES = FULL if os.environ.get("OCR_TCP_LB_SOAK") == "full" else SHORT


@pytest.fixture
def most_clients() -> Iterator[int]:
    """As many clients as wanted, or as descriptors can be had for; children inherit the raised limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = SIZES.idle_clients + SPARE_DESCRIPTORS
    raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, raised), hard))
    yield min(SIZES.idle_clients, max(soft, raised) - SPARE_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def slow_reader(tmp_path: Path) -> Iterator[str]:
    """The URL of a service that takes at most 25 MB/s of each upload."""
    child = Child([sys.executable, str(SERVICES / "slow_reader.py"), str(256 * KIB), "0.01"], tmp_path / "slow")
    yield child.wait_for(r"serving on (http://\S+)")[1]
    child.end()


async def ask(port: int, one_by_one: asyncio.Semaphore) -> socket.socket:
    """Connect, have one request answered, and stay connected."""
    loop = asyncio.get_running_loop()
    async with one_by_one:
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, REQUEST)
        assert (await loop.sock_recv(sock, 4096)).startswith(b"HTTP/1.1 404")
    return sock


async def test_idle_keep_alive_clients_cost_little(
    start_balancer: StartBalancer, start_one: StartService, loop_name: str, most_clients: int
) -> None:
    _, url = start_one("uvicorn")
    balancer = start_balancer(
        [url.replace("/get_ocr", "/")],  # answered 404 by the service, which is quick
        *("--loop", loop_name, "--max-connections", str(most_clients + 100), "--idle-timeout", "5m"),
    )
    one_by_one = asyncio.Semaphore(8)
    warm = [await ask(balancer.port, one_by_one) for _ in range(50)]
    before = balancer.memory_kib()["VmRSS"]
    idle = await asyncio.gather(*(ask(balancer.port, one_by_one) for _ in range(most_clients - len(warm))))
    each = (balancer.memory_kib()["VmRSS"] - before) / len(idle)
    print(f"\n{loop_name}: {len(idle)} idle clients cost {each:.2f} KiB each")
    for sock in [*warm, *idle]:
        sock.close()
    assert each < MOST_KIB_A_CLIENT


def upload(port: int, size: int) -> str:
    """Send `size` bytes, piece by piece; "whole" if the service had them as they were sent, else its answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    connection.putrequest("POST", "/")
    connection.putheader("Content-Length", str(size))
    connection.endheaders()
    digest = hashlib.sha256()
    for start in range(0, size, MIB):
        piece = memoryview(PIECE)[: min(MIB, size - start)]
        digest.update(piece)
        connection.send(piece)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return "whole" if content.decode() == digest.hexdigest() else f"{reply.status} {content.decode()}"


def test_large_uploads_to_a_slow_service_are_not_piled_up(
    start_balancer: StartBalancer, slow_reader: str, loop_name: str
) -> None:
    at_once = ("--concurrency", str(SIZES.uploads))  # none may wait in the queue, where it would hold less
    balancer = start_balancer([slow_reader], "--loop", loop_name, "--body-limit", "300MiB", *at_once)
    with ThreadPoolExecutor(SIZES.uploads) as pool:
        done = list(pool.map(lambda _: upload(balancer.port, SIZES.upload_bytes), range(SIZES.uploads)))
    peak = balancer.memory_kib()["VmHWM"]
    print(f"\n{loop_name}: {SIZES.uploads} uploads of {SIZES.upload_bytes / 1e6:.0f} MB, peak {peak / KIB:.0f} MiB")
    assert set(done) == {"whole"}
    assert peak < MOST_KIB_IN_ALL
