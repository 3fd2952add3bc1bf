"""Who is told what: while there is news, until it is watched no more, and nobody in the place of another."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from ocr_tcp_lb.relay import poller as module
from ocr_tcp_lb.relay.poller import EpollPoller, LoopPoller, new_poller
from ocr_tcp_lb.relay.readiness import Channel, Wakeup

from .support import GET, RESET_ON_CLOSE, House, driven, replaces_a_part, until
from .test_readiness import Counter, Pair, turns

ROOM = memoryview(bytearray(10))


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
async def poller() -> AsyncIterator[EpollPoller]:
    poller = EpollPoller(asyncio.get_running_loop())
    yield poller
    poller.close()
    poller.close()


async def test_only_who_has_news_is_told(poller: EpollPoller, pairs: list[Pair]) -> None:
    counters = [Counter() for _ in pairs]
    channels = [Channel(poller, pair[0], counter.wakeup) for pair, counter in zip(pairs, counters, strict=True)]
    for channel in channels:
        channel.want_read()
    await turns()
    assert [counter.fired for counter in counters] == [0, 0, 0]
    pairs[1][1].send(b"x")
    await until(lambda: counters[1].fired == 1)
    await turns()
    assert [counter.fired for counter in counters] == [0, 1, 0]
    assert [channel.is_watched for channel in channels] == [True, False, True], "nobody took that byte"
    assert len(poller) == 2
    for channel in channels:
        channel.close()
    assert len(poller) == 0


async def test_who_comes_back_is_told_again(poller: EpollPoller, pairs: list[Pair]) -> None:
    counter = Counter()
    channel = Channel(poller, pairs[0][0], counter.wakeup)
    channel.want_read()
    poller.unwatch(channel)
    poller.watch(channel)  # at once, while the kernel still has it
    pairs[0][1].send(b"x")
    await until(lambda: counter.fired == 1)
    await turns()  # the byte that nobody takes makes the poller forget the descriptor
    for times in range(2, 5):
        channel.readable = False
        channel.want_read()
        await until(lambda times=times: counter.fired == times)  # type: ignore[misc]
    assert channel.receive_into(ROOM) == 1
    channel.close()


async def test_one_who_closes_others_in_the_same_look_does_no_harm(poller: EpollPoller, pairs: list[Pair]) -> None:
    channels: list[Channel] = []
    told: list[Channel] = []
    opened: list[int] = []

    async def close_the_others(number: int, wakeup: Wakeup) -> None:
        await wakeup
        told.append(channels[number])
        for other in channels[:number] + channels[number + 1 :]:
            other.close()
        opened.append(os.dup(channels[number].fd))  # takes the number of one that was closed

    for number, (ours, _) in enumerate(pairs):
        wakeup = Wakeup(asyncio.get_running_loop())
        channels.append(Channel(poller, ours, wakeup))
        driven(wakeup, close_the_others(number, wakeup))
        channels[-1].want_read()
    for _, theirs in pairs:
        theirs.send(b"x")
    await until(lambda: bool(told))
    await turns()
    assert len(told) == 1
    assert [channel.is_closed for channel in channels].count(False) == 1
    told[0].close()
    assert len(poller) == 0
    os.close(opened[0])


async def test_reset_that_came_with_bytes_is_told_after_them(poller: EpollPoller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    ours.setblocking(False)
    channel = Channel(poller, ours, Counter().wakeup)
    channel.want_read()
    theirs.send(b"last")
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    theirs.close()
    await until(lambda: channel.readable)
    assert channel.receive_into(ROOM) == 4
    channel.presume_empty()
    await until(lambda: channel.readable)
    with pytest.raises(ConnectionResetError):
        channel.receive_into(ROOM)
    channel.close()


@replaces_a_part
async def test_without_epoll_the_loop_itself_watches(monkeypatch: pytest.MonkeyPatch, house: House) -> None:
    monkeypatch.setattr(module, "HAS_EPOLL", False)
    assert isinstance(new_poller(asyncio.get_running_loop()), LoopPoller)
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    assert isinstance(lb.hub.poller, LoopPoller)
    client = await lb.client()
    for _ in range(2):
        await client.send(GET)
        assert (await client.read_message()).status == 200
