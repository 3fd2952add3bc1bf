"""The bulk of a body, left in the kernel: taken in once, given out as often as need be."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from ocr_tcp_lb.relay.buffers import Slabs
from ocr_tcp_lb.relay.failures import SinkBroke
from ocr_tcp_lb.relay.outgoing import Outgoing
from ocr_tcp_lb.relay.poller import Poller
from ocr_tcp_lb.relay.readiness import Channel, Wakeup
from ocr_tcp_lb.relay.reservoir import FULL_BYTES, SMALLEST_BYTES, Reservoir, Reservoirs
from ocr_tcp_lb.relay.splice import HAS_TEE, Pipes

from .support import OK, House, Peer, ScriptedBackend, open_descriptors, pattern, post, replaces_a_part, reply

pytestmark = pytest.mark.skipif(not HAS_TEE, reason="this platform has no tee")

BODY = pattern(100_000)


class Bench:
    """A reservoir between a client and backends whose far ends the test holds."""

    def __init__(self, most_pipes: int = 1) -> None:
        self.slabs = Slabs(1_000_000)
        self.pipes = Pipes(most_pipes)
        self.reservoirs = Reservoirs(self.pipes, self.slabs)
        self._ends: list[socket.socket | Channel] = []
        self.far_client, self.client = self.connection()

    def connection(self) -> tuple[socket.socket, Channel]:
        far, near = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        for sock in (far, near):
            sock.setblocking(False)
        channel = Channel(Poller(None), near, Wakeup(None))  # type: ignore[arg-type]  # nobody waits
        self._ends += (far, channel)
        return far, channel

    def filled(self, body: bytes = BODY) -> Reservoir:
        assert self.far_client.send(body) == len(body)
        reservoir = self.reservoirs.new()
        assert reservoir is not None
        assert reservoir.take_in(self.client, len(body)) == len(body)
        return reservoir

    def close(self) -> None:
        for end in self._ends:
            end.close()
        self.reservoirs.close()
        self.pipes.close()


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(most_pipes: int = 1) -> Bench:
        made.append(Bench(most_pipes))
        return made[-1]

    before = open_descriptors()
    yield make
    for one in made:
        assert one.slabs.used_bytes == 0
        assert one.pipes._made == len(one.pipes._free)
        assert one.reservoirs.stores._made == len(one.reservoirs.stores._free)
        assert all(pipe.fill == 0 for pipe in (*one.pipes._free, *one.reservoirs.stores._free))
        one.close()
    assert open_descriptors() == before


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while True:
        try:
            data += sock.recv(1 << 20)
        except BlockingIOError:
            return data


@pytest.mark.parametrize("most_pipes", [1, 0], ids=["with a passage", "without one"])
def test_every_attempt_gets_all_of_it(bench: Callable[..., Bench], most_pipes: int) -> None:
    a = bench(most_pipes)
    reservoir = a.filled()
    assert a.slabs.used_bytes == len(BODY)
    outgoing = Outgoing()
    for number in range(3):
        far, backend = a.connection()
        head = b"head %d " % number
        outgoing.start(head, [b" behind"], (b"front ",), reservoir)
        assert outgoing.pump(backend)
        assert not outgoing.is_left
        assert outgoing.sent == len(head) + 6 + len(BODY) + 7
        assert read_all(far) == head + b"front " + BODY + b" behind"
    reservoir.close()


@pytest.mark.parametrize("most_pipes", [1, 0], ids=["with a passage", "without one"])
def test_backend_that_takes_it_in_pieces_gets_all_of_it(bench: Callable[..., Bench], most_pipes: int) -> None:
    a = bench(most_pipes)
    reservoir = a.filled()
    far, backend = a.connection()
    backend.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    outgoing = Outgoing()
    outgoing.start(b"head", [], (), reservoir)
    got, rounds = b"", 0
    while outgoing.is_left:
        outgoing.pump(backend)
        assert backend.writable or outgoing.is_left
        backend.writable = True
        got += read_all(far)
        assert outgoing.sent == len(got)
        rounds += 1
    assert rounds > 1
    assert got == b"head" + BODY
    reservoir.close()


def test_attempt_that_was_given_up_leaves_nothing_to_the_next(bench: Callable[..., Bench]) -> None:
    a = bench(2)
    reservoir = a.filled()
    _, first = a.connection()
    first.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    reservoir.start((b"first",))
    reservoir.pour(first)
    assert reservoir.is_left
    far, second = a.connection()
    reservoir.start((b"second",))
    reservoir.pour(second)
    assert read_all(far) == b"second" + BODY
    reservoir.close()


def test_what_a_backend_took_before_it_broke_is_counted(bench: Callable[..., Bench]) -> None:
    """Or its request would be thought not to have begun, and be sent to another one."""
    a = bench()
    reservoir = a.filled()
    far, backend = a.connection()
    backend.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    reservoir.start((b"head",))
    reservoir.pour(backend)
    taken = reservoir.sent
    assert taken
    far.close()
    with pytest.raises(SinkBroke):
        reservoir.pour(backend)
    assert reservoir.sent == taken
    reservoir.close()


def test_more_is_taken_in_behind(bench: Callable[..., Bench]) -> None:
    a = bench()
    reservoir = a.filled(BODY)
    a.far_client.send(b"more")
    assert reservoir.take_in(a.client, 10) == 4
    assert a.slabs.used_bytes == len(BODY) + 4
    far, backend = a.connection()
    reservoir.start(())
    reservoir.pour(backend)
    assert read_all(far) == BODY + b"more"
    reservoir.close()


def test_what_does_not_fit_into_one_store_goes_into_more(bench: Callable[..., Bench]) -> None:
    a = bench()
    a.slabs.capacity_bytes = 10_000_000
    a.reservoirs.stores._most = 3
    reservoir = a.reservoirs.new()
    assert reservoir is not None
    body, size = pattern(9_000_000), 0
    while True:
        a.far_client.send(body[size : size + FULL_BYTES])
        waiting = a.client.unread_bytes()
        took = reservoir.take_in(a.client, waiting)
        size += took
        if took < waiting:
            break
    assert a.reservoirs.stores._made == 3
    assert size == reservoir.size == a.slabs.used_bytes > 2 * FULL_BYTES
    for _ in range(2):
        far, backend = a.connection()
        assert reservoir.start((b"head",))
        got = b""
        while reservoir.is_left:
            reservoir.pour(backend)
            backend.writable = True
            got += read_all(far)
        assert got == b"head" + body[:size]
        assert reservoir.sent == len(got)
    reservoir.close()


def test_only_as_much_is_taken_in_as_fits(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    a = bench()
    monkeypatch.setattr(a.reservoirs.stores, "_size", 4096)
    a.far_client.send(BODY)
    reservoir = a.reservoirs.new()
    assert reservoir is not None
    size = reservoir.take_in(a.client, len(BODY))
    assert 0 < size < len(BODY)
    assert a.slabs.used_bytes == size
    assert reservoir.take_in(a.client, len(BODY)) == 0
    reservoir.close()
    assert read_all(a.client.sock) == BODY[size:]


def test_nothing_is_taken_in_beyond_the_memory_for_bodies(bench: Callable[..., Bench]) -> None:
    a = bench()
    a.slabs.capacity_bytes = len(BODY) - 1
    a.far_client.send(BODY)
    reservoir = a.reservoirs.new()
    assert reservoir is not None
    assert reservoir.take_in(a.client, len(BODY)) == 0
    reservoir.close()


def test_store_is_closed_where_nothing_can_be_thrown_away(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptor is left, or there is no /dev/null."""
    a = bench()

    def refuse(path: str, flags: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "open", refuse)
    a.filled().close()
    assert a.reservoirs.stores._made == 0


def test_no_more_of_them_than_there_are_pipes(bench: Callable[..., Bench]) -> None:
    a = bench()
    a.reservoirs.stores._most = 1
    first = a.reservoirs.new()
    assert first is not None
    assert a.reservoirs.new() is None
    first.close()


async def whoever_is_called(backends: list[ScriptedBackend]) -> tuple[ScriptedBackend, Peer]:
    tasks = {asyncio.ensure_future(backend.accept()): backend for backend in backends}
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    first = next(iter(done))
    return tasks[first], first.result()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much each look at a client took into a reservoir."""
    taken: list[int] = []
    take_in = Reservoir.take_in

    def counted(self: Reservoir, client: Channel, most: int) -> int:
        taken.append(take_in(self, client, most))
        return taken[-1]

    monkeypatch.setattr(Reservoir, "take_in", counted)
    return taken


@replaces_a_part
@pytest.mark.parametrize("size", [6 * SMALLEST_BYTES, 7_000_000], ids=["a store", "many stores"])
@pytest.mark.parametrize("pipes", [32, 0], ids=["with a passage", "without one"])
async def test_scan_is_sent_to_another_backend_when_the_first_broke(
    house: House, taken: list[int], pipes: int, size: int
) -> None:
    backends = [house.backend(), house.backend()]
    lb = house.balancer(backends)
    lb.hub.pipes._most = pipes
    client = await lb.client()
    body = pattern(size)
    sending = asyncio.ensure_future(client.send(post(body, method=b"PUT")))
    first, peer = await whoever_is_called(backends)
    assert (await peer.read_message()).body == body
    await sending
    peer.close()
    second, peer = await whoever_is_called(backends)
    assert second is not first
    assert (await peer.read_message()).body == body
    await peer.send(OK)
    assert (await client.read_message()).status == 200
    assert sum(taken) >= SMALLEST_BYTES, "it went another way"


@replaces_a_part
async def test_scan_of_which_a_backend_took_a_part_is_not_sent_twice(house: House, taken: list[int]) -> None:
    backends = [house.backend(receive_buffer=8192), house.backend(receive_buffer=8192)]
    lb = house.balancer(backends)
    client = await lb.client()
    body = pattern(40 * SMALLEST_BYTES)
    await client.send(post(body))
    first, peer = await whoever_is_called(backends)
    await peer.read_head()
    peer.reset()
    assert (await client.read_message()).status == 502
    assert (await lb.record()).attempts == 1
    assert not any(backend.has_caller() for backend in backends if backend is not first)
    assert sum(taken) >= SMALLEST_BYTES, "it went another way"


async def test_heads_of_any_size_follow_a_scan(house: House) -> None:
    """The reader then takes little at a time, as a scan is likely to follow."""
    backend = house.backend()
    backend.answer(lambda request: reply(b"%d %d" % (len(b"".join(request.values(b"x-long"))), len(request.body))))
    lb = house.balancer([backend])
    client = await lb.client()
    for head_size, body_size in ((10, 2 * SMALLEST_BYTES), (9_000, 10), (10, 2 * SMALLEST_BYTES), (9_000, 300_000)):
        await client.send(post(pattern(body_size), b"X-Long: " + b"x" * head_size))
        assert (await client.read_message()).body == b"%d %d" % (head_size, body_size)
