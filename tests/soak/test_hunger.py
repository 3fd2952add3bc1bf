"""Clients that want memory: slow heads, replies that nobody reads, uploads that never end, all at once.

Short by default. OCR_TCP_LB_SOAK=full gives the numbers that users are promised. `-m soak -s` shows the figures.
"""

import asyncio
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.conftest import StartBalancer
from e2e.processes import Balancer

from ocr_tcp_lb.config import Limits

from .backend import Backend

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc"),
]

MIB = 1024 * 1024
UPLOAD_BYTES = 64 * MIB
PROMISED = 150_000_000
BESIDE = 80 * MIB  # beside the bodies held: 30 at rest, 64 KiB for each client that does not read
PIECE = bytes(16 * 1024)


@dataclass(frozen=True)
class Crowd:
    """How many of each, and for how long."""

    slow_heads: int
    never_reading: int
    slow_uploads: int
    seconds: float


FULL, SHORT = Crowd(1_000, 100, 100, 60.0), Crowd(200, 30, 30, 3.0)
CROWD = FULL if os.environ.get("OCR_TCP_LB_SOAK") == "full" else SHORT


async def connected(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


async def drip(port: int) -> None:
    """A slow-loris: a byte of its head a second, and again when it is turned out."""
    loop = asyncio.get_running_loop()
    while True:
        with await connected(port) as sock:
            try:
                for byte in b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 99:
                    await loop.sock_sendall(sock, bytes((byte,)))
                    await asyncio.sleep(1)
            except ConnectionError:
                pass


async def never_read(port: int) -> None:
    """Ask for 100 MB and take nothing."""
    with await connected(port) as sock:
        await asyncio.get_running_loop().sock_sendall(sock, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.Event().wait()


async def upload(port: int, pause_s: float, framing: bytes, piece: bytes) -> None:
    """64 MiB, in small pieces."""
    loop = asyncio.get_running_loop()
    with await connected(port) as sock:
        try:
            await loop.sock_sendall(sock, b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % framing)
            for _ in range(UPLOAD_BYTES // len(PIECE)):
                await loop.sock_sendall(sock, piece)
                await asyncio.sleep(pause_s)
        except ConnectionError:
            pass


async def ask(port: int) -> bytes:
    """A good request among them."""
    loop = asyncio.get_running_loop()
    with await connected(port) as sock:
        await loop.sock_sendall(sock, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        return await loop.sock_recv(sock, 1000)


async def watch(balancer: Balancer, seconds: float) -> int:
    """The most memory it had in that time, while good requests are served."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    while loop.time() < ends:
        assert b"200 OK" in await asyncio.wait_for(ask(balancer.port), 5)
        await asyncio.sleep(0.25)
    return balancer.memory_kib()["VmHWM"]


DECLARED = b"Content-Length: %d" % UPLOAD_BYTES, PIECE
CHUNKED = b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n" % (len(PIECE), PIECE)


@pytest.mark.parametrize("pause_s", [0.2, 0.02], ids=["slow uploads", "fast uploads"])
@pytest.mark.parametrize(
    ("body", "most"),
    [
        pytest.param(DECLARED, PROMISED, id="declared"),
        # Of these nobody knows that they are too large to be held, until all that may be held is.
        pytest.param(CHUNKED, Limits().buffer_memory_bytes + BESIDE, id="chunked"),
    ],
)
async def test_memory_is_bounded_whatever_the_crowd_wants(
    start_balancer: StartBalancer, loop_name: str, pause_s: float, body: tuple[bytes, bytes], most: int
) -> None:
    async with Backend(read_pause_s=0.05) as backend:
        balancer = start_balancer([backend.url], "--loop", loop_name, "--concurrency", "300", "--queue-size", "300")
        before = balancer.memory_kib()["VmRSS"]
        crowd = [asyncio.ensure_future(drip(balancer.port)) for _ in range(CROWD.slow_heads)]
        crowd += [asyncio.ensure_future(never_read(balancer.port)) for _ in range(CROWD.never_reading)]
        crowd += [asyncio.ensure_future(upload(balancer.port, pause_s, *body)) for _ in range(CROWD.slow_uploads)]
        peak = await watch(balancer, CROWD.seconds)
        assert not [one for one in crowd if one.done() and one.exception()]
        for one in crowd:
            one.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
    print(f"\n{loop_name}: {CROWD}, RSS {before * 1024 / 1e6:.0f} MB, then {peak * 1024 / 1e6:.0f} MB at most")
    assert peak * 1024 < most
