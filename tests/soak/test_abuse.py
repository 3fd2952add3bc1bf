"""Thousands of connections of mixed abuse, and afterwards everything is as it was.

Short by default. OCR_TCP_LB_SOAK=full makes it 20,000 connections. `-m soak -s` shows the figures.
"""

import asyncio
import json
import os
import random
import socket
import struct
from collections import Counter
from pathlib import Path

import pytest
from e2e.conftest import StartBalancer
from e2e.processes import Balancer

from .backend import Backend

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc"),
]

CONNECTIONS = 20_000 if os.environ.get("OCR_TCP_LB_SOAK") == "full" else 2_500
AT_ONCE = 64
GROWTH_KIB = 12 * 1024  # the allocator keeps what a crowd of connections needed, and log lines were formatted
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\n\r\n"
GARBAGE = (b"\x16\x03\x01\x02\x00", b"\x00" * 100, b"GET /\r\n\r\n", GET.replace(b"Host", b"Host "), b"SSH-2.0-x\r\n")
SMUGGLING = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET


async def misbehave(port: int, chance: random.Random) -> str:
    """One hostile or careless client; returns what it did."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        if chance.random() < 0.5:  # leaves with a reset
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        kind = chance.choice(sorted(KINDS))
        try:
            for data in KINDS[kind]:
                await loop.sock_sendall(sock, data[: chance.randint(1, len(data))] if kind.startswith("part") else data)
                await asyncio.sleep(chance.choice((0, 0, 0.01)))
            if chance.random() < 0.3:
                async with asyncio.timeout(0.05):
                    await loop.sock_recv(sock, 100)
        except (ConnectionError, TimeoutError):
            pass
    return kind


KINDS = {
    "nothing": (),
    "part of a head": (GET,),
    "part of a body": (POST + bytes(30_000),),
    "part of chunks": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",),
    "leaves the queue or the worker": (GET.replace(b"/", b"/slow", 1),),
    "leaves a large reply": (GET.replace(b"/", b"/large", 1),),
    "drips a head": tuple(GET[index : index + 1] for index in range(12)),
    "pipeline": (GET * 20,),
    "smuggling": (SMUGGLING,),
    **{f"garbage {number}": (data,) for number, data in enumerate(GARBAGE)},
}


def descriptors(balancer: Balancer) -> int:
    return len(os.listdir(f"/proc/{balancer.pid}/fd"))


async def ask(port: int) -> bytes:
    """A good request; its whole answer."""
    loop, answer = asyncio.get_running_loop(), b""
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        while data := await loop.sock_recv(sock, 4096):
            answer += data
    return answer


async def crowd(port: int, connections: int, seed: int) -> Counter[str]:
    """So many misbehaving clients, `AT_ONCE` at one time."""
    done: Counter[str] = Counter()
    numbers = iter(range(connections))

    async def one_after_the_other() -> None:
        for number in numbers:
            done[await misbehave(port, random.Random(seed + number))] += 1

    await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
    return done


async def settled(balancer: Balancer, most: int) -> int:
    """The number of descriptors, once it has fallen to `most`, or does not fall any more."""
    for _ in range(200):
        if (now := descriptors(balancer)) <= most:
            break
        await asyncio.sleep(0.05)
    return now


async def test_everything_is_given_back_after_mixed_abuse(start_balancer: StartBalancer, loop_name: str) -> None:
    async with Backend() as backend:
        backends = [f"{backend.url},concurrency=4,max_idle=0.2"]
        balancer = start_balancer(backends, "--loop", loop_name, "--head-timeout", "2", "--queue-timeout", "2")
        assert b"200 OK" in await ask(balancer.port)
        await crowd(balancer.port, 1_000, seed=1)  # so that pools and caches are as large as they get
        await asyncio.sleep(0.5)
        fds, rss = await settled(balancer, 20), balancer.memory_kib()["VmRSS"]
        done = await crowd(balancer.port, CONNECTIONS, seed=2)
        assert b"200 OK" in await asyncio.wait_for(ask(balancer.port), 1), "the next good request is served at once"
        after = await settled(balancer, fds)
        grown = balancer.memory_kib()["VmRSS"] - rss
        # All four slots are free: four slow requests at once are served side by side.
        answers = await asyncio.wait_for(asyncio.gather(*(ask(balancer.port) for _ in range(4))), 2)
    print(f"\n{loop_name}: {done.total()} connections, descriptors {fds} -> {after}, RSS {rss} KiB {grown:+} KiB")
    assert all(b"200 OK" in answer for answer in answers)
    assert after <= fds
    assert grown < GROWTH_KIB
    check_log(balancer)


def check_log(balancer: Balancer) -> None:
    """Every line is a record of its own, and none says that something unexpected happened."""
    assert "unexpected" not in balancer.stderr_path.read_text()
    lines = balancer.stdout_path.read_text().splitlines()
    assert {type(json.loads(line)["status"]) for line in lines} == {int, type(None)}
