"""The poller of those who have just connected: it calls back as a loop does, and forgets who leaves."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from ocr_tcp_lb.relay.newcomers import Newcomers
from ocr_tcp_lb.relay.readiness import Channel

from .support import GET, House, until
from .test_readiness import Counter, Pair, turns


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made = [socket.socketpair() for _ in range(3)]
    for ours, _ in made:
        ours.setblocking(False)
    yield made
    for both in made:
        for sock in both:
            sock.close()


@pytest.fixture
async def newcomers() -> AsyncIterator[Newcomers]:
    newcomers = Newcomers(asyncio.get_running_loop())
    yield newcomers
    newcomers.close()
    newcomers.close()


async def test_whoever_can_be_read_is_called_back_until_removed(newcomers: Newcomers, pairs: list[Pair]) -> None:
    called: list[str] = []
    for name, (ours, _) in zip("abc", pairs, strict=True):
        newcomers.add_reader(ours.fileno(), lambda name=name: called.append(name))  # type: ignore[misc]
    await turns()
    assert called == []
    pairs[1][1].send(b"x")
    await until(lambda: called[:2] == ["b", "b"])
    newcomers.remove_reader(pairs[1][0].fileno())
    called.clear()
    await turns()
    assert called == []
    assert len(newcomers) == 2


async def test_who_comes_back_is_watched_again(newcomers: Newcomers, pairs: list[Pair]) -> None:
    called: list[str] = []
    (ours, theirs), fd = pairs[0], pairs[0][0].fileno()
    newcomers.add_reader(fd, lambda: called.append("first"))
    newcomers.remove_reader(fd)
    newcomers.add_reader(fd, lambda: called.append("at once"))
    theirs.send(b"x")
    await until(lambda: "at once" in called)
    newcomers.remove_reader(fd)
    await turns()  # the byte that nobody takes makes the poller forget it
    newcomers.add_reader(fd, lambda: called.append("later"))
    await until(lambda: "later" in called)
    assert "first" not in called
    assert ours.recv(1) == b"x"


async def test_one_who_closes_another_in_the_same_look_does_no_harm(newcomers: Newcomers, pairs: list[Pair]) -> None:
    called: list[str] = []
    by_fd = {ours.fileno(): ours for ours, _ in pairs}

    def close_the_others(fd: int) -> None:
        called.append("closed the others")
        for other, sock in by_fd.items():
            newcomers.remove_reader(other)
            if other != fd:
                sock.close()
        reused.append(os.dup(by_fd[fd].fileno()))  # takes the number of one that was closed

    reused: list[int] = []
    for fd in by_fd:
        newcomers.add_reader(fd, lambda fd=fd: close_the_others(fd))  # type: ignore[misc]
    for _, theirs in pairs:
        theirs.send(b"x")
    await until(lambda: bool(called))
    await turns()
    assert called == ["closed the others"]
    assert len(newcomers) == 0
    os.close(reused[0])


async def test_channel_that_settles_in_is_watched_by_the_loop(newcomers: Newcomers, pairs: list[Pair]) -> None:
    counter, (ours, theirs) = Counter(), pairs[0]
    channel = Channel(asyncio.get_running_loop(), ours, counter.wakeup, newcomers)
    channel.want_read()
    assert len(newcomers) == 1
    theirs.send(b"x")
    await until(lambda: counter.fired == 1)
    channel.settle_in()
    assert len(newcomers) == 0
    assert not channel.is_watched
    assert channel.receive_into(memoryview(bytearray(2))) == 1
    channel.readable = False
    channel.want_read()
    assert len(newcomers) == 0
    theirs.send(b"y")
    await until(lambda: counter.fired == 2)
    channel.close()


async def test_client_settles_in_after_its_first_request(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    newcomers = lb.hub.newcomers
    assert newcomers is not None
    clients = [await lb.client() for _ in range(3)]
    await until(lambda: len(newcomers) == 3)
    for _ in range(2):
        await clients[0].send(GET)
        assert (await clients[0].read_message()).status == 200
        assert len(newcomers) == 2
    clients[1].close()
    await until(lambda: len(newcomers) == 1)


async def test_tunnel_settles_in_at_once(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], mode="tcp")
    newcomers = lb.hub.newcomers
    assert newcomers is not None
    client = await lb.client()
    await client.send(b"hello")
    peer = await backend.accept()
    assert await peer.read(5) == b"hello"
    assert len(newcomers) == 0
