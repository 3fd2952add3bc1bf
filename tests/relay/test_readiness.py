"""Wake-ups and channels: the flags, the callbacks that set them, and tasks that wait."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator

import pytest

from ocr_tcp_lb.relay.poller import EpollPoller, LoopPoller, Poller
from ocr_tcp_lb.relay.readiness import Channel, Wakeup

from .support import until

Pair = tuple[socket.socket, socket.socket]


class Counter:
    """A wake-up, and how often it was fired."""

    def __init__(self) -> None:
        self.fired = 0
        self.wakeup = Wakeup(asyncio.get_running_loop())
        self.wakeup.drive(self._count(), lambda: None)

    async def _count(self) -> None:
        while True:
            await self.wakeup
            self.fired += 1


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture(params=[EpollPoller, LoopPoller])
async def poller(request: pytest.FixtureRequest) -> AsyncIterator[Poller]:
    poller = request.param(asyncio.get_running_loop())
    yield poller
    poller.close()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def driven(wakeup: Wakeup, coroutine: Coroutine[object, object, None]) -> list[str]:
    """Start the coroutine; the list gets an entry when it has ended."""
    ended: list[str] = []
    wakeup.drive(coroutine, lambda: ended.append("ended"))
    return ended


async def test_wakeup_serves_one_wait_after_the_other() -> None:
    wakeup, woken = Wakeup(asyncio.get_running_loop()), []

    async def wait_thrice() -> None:
        for number in range(3):
            await wakeup
            woken.append(number)

    ended: list[bool] = []
    wakeup.drive(wait_thrice(), lambda: ended.append(True))
    for number in range(3):
        assert len(woken) == number
        wakeup.fire()
    assert woken == [0, 1, 2]
    assert ended == [True]


async def test_coroutine_runs_at_once_up_to_its_first_wait() -> None:
    wakeup, steps = Wakeup(asyncio.get_running_loop()), []

    async def work() -> None:
        steps.append("begun")
        await wakeup
        steps.append("resumed")

    wakeup.drive(work(), lambda: steps.append("ended"))
    assert steps == ["begun"]
    wakeup.fire()
    assert steps == ["begun", "resumed", "ended"]


async def test_coroutine_that_never_waits_ends_at_once() -> None:
    wakeup, ended = Wakeup(asyncio.get_running_loop()), []

    async def work() -> None:
        pass

    wakeup.drive(work(), lambda: ended.append(True))
    assert ended == [True]
    wakeup.fire()
    assert ended == [True]


async def test_fire_from_within_the_coroutine_does_nothing_and_fire_soon_does() -> None:
    wakeup, turns_taken = Wakeup(asyncio.get_running_loop()), []

    async def work() -> None:
        wakeup.fire()
        await wakeup
        turns_taken.append(1)
        wakeup.fire_soon()
        await wakeup
        turns_taken.append(2)

    wakeup.drive(work(), lambda: None)
    assert turns_taken == []
    wakeup.fire()
    assert turns_taken == [1]
    await turns()
    assert turns_taken == [1, 2]


async def test_fire_without_anybody_waiting_does_nothing() -> None:
    wakeup = Wakeup(asyncio.get_running_loop())
    wakeup.fire()
    wakeup.fire_soon()
    wakeup.cancel()
    await turns()


async def test_cancelled_coroutine_cleans_up_and_ends() -> None:
    wakeup, steps = Wakeup(asyncio.get_running_loop()), []

    async def work() -> None:
        try:
            await wakeup
        finally:
            steps.append("cleaned up")

    wakeup.drive(work(), lambda: steps.append("ended"))
    wakeup.cancel()
    wakeup.cancel()
    wakeup.fire()
    assert steps == ["cleaned up", "ended"]


async def test_error_of_a_coroutine_ends_it_and_is_not_swallowed() -> None:
    wakeup, ended = Wakeup(asyncio.get_running_loop()), []

    async def work() -> None:
        await wakeup
        raise RuntimeError("ours")

    wakeup.drive(work(), lambda: ended.append(True))
    with pytest.raises(RuntimeError, match="ours"):
        wakeup.fire()
    assert ended == [True]


async def test_channel_reads_what_is_there_and_says_not_now(poller: Poller, pair: Pair) -> None:
    channel = Channel(poller, pair[0], Counter().wakeup)
    view = memoryview(bytearray(10))
    assert channel.receive_into(view) is None
    pair[1].send(b"hello")
    assert channel.receive_into(view) == 5
    assert bytes(view[:5]) == b"hello"
    pair[1].close()
    assert channel.receive_into(view) == 0
    channel.close()


async def test_full_read_leaves_the_channel_readable(poller: Poller, pair: Pair) -> None:
    channel = Channel(poller, pair[0], Counter().wakeup)
    channel.readable = True
    pair[1].send(b"hello")
    assert channel.receive_into(memoryview(bytearray(5))) == 5
    assert channel.readable, "there may be more"
    channel.close()


async def test_send_takes_what_the_kernel_takes(poller: Poller, pair: Pair) -> None:
    channel = Channel(poller, pair[0], Counter().wakeup)
    sent, data = 0, bytes(1 << 20)
    while channel.writable:
        sent += channel.send(data)
    assert sent > 0
    assert channel.send(data) == 0
    assert channel.send_pieces([b"a", b"b"]) == 0
    channel.close()


async def test_pieces_leave_in_order(poller: Poller, pair: Pair) -> None:
    channel = Channel(poller, pair[0], Counter().wakeup)
    assert channel.send_pieces([b"ab", memoryview(b"cd"), b"e"]) == 5
    assert pair[1].recv(10) == b"abcde"
    channel.close()


async def test_news_fires_the_wakeup_once_until_somebody_reads(poller: Poller, pair: Pair) -> None:
    counter = Counter()
    channel = Channel(poller, pair[0], counter.wakeup)
    channel.want_read()
    pair[1].send(b"x")
    await until(lambda: counter.fired > 0)
    await turns()
    assert counter.fired == 1, "bytes that nobody takes must not keep the loop busy"
    assert channel.readable
    view = memoryview(bytearray(10))
    assert channel.receive_into(view) == 1
    assert channel.receive_into(view) is None
    channel.want_read()
    pair[1].send(b"y")
    await until(lambda: counter.fired == 2)
    channel.close()


async def test_room_fires_the_wakeup_once(poller: Poller, pair: Pair) -> None:
    counter = Counter()
    channel = Channel(poller, pair[0], counter.wakeup)
    while channel.writable:
        channel.send(bytes(1 << 16))
    channel.want_write()
    channel.want_write()
    await turns()
    assert counter.fired == 0
    pair[1].setblocking(False)
    while _receive(pair[1]):
        pass
    await until(lambda: channel.writable)
    await turns()
    assert counter.fired == 1
    channel.close()


def _receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 20)
    except BlockingIOError:
        return b""


async def test_closed_channel_fires_no_more(poller: Poller, pair: Pair) -> None:
    counter = Counter()
    channel = Channel(poller, pair[0], counter.wakeup)
    channel.want_read()
    channel.want_write()
    channel.close()
    channel.close()
    pair[1].close()
    await turns()
    assert counter.fired == 0
    assert channel.is_closed


async def test_finish_sending_is_seen_as_the_end(poller: Poller, pair: Pair) -> None:
    channel = Channel(poller, pair[0], Counter().wakeup)
    channel.finish_sending()
    assert pair[1].recv(1) == b""
    pair[1].close()
    channel.finish_sending()  # already gone: no news
    channel.close()


async def test_refused_connect_shows_as_the_pending_error(poller: Poller) -> None:
    counter = Counter()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        sock = socket.socket()
        sock.setblocking(False)
        channel = Channel(poller, sock, counter.wakeup)
        assert channel.connection_error() is None
        if sock.connect_ex(closed.getsockname()) == errno.EINPROGRESS:
            channel.want_write()
            await until(lambda: counter.fired > 0)
            error = channel.connection_error()
            assert error is not None
            assert error.errno == errno.ECONNREFUSED
    channel.close()
