"""The client's side: sending within a deadline, noticing that it leaves, and the two ways to part."""

import asyncio
from collections.abc import Callable

import pytest

from ocr_tcp_lb.config import BackendConfig, Limits
from ocr_tcp_lb.relay import talk
from ocr_tcp_lb.relay.failures import ClientGone
from ocr_tcp_lb.relay.readiness import Channel
from ocr_tcp_lb.relay.talk import linger, send_all, wait_readable

from .support import Balancer, House, driven, guest, replaces_a_part, until

SOMEWHERE = [BackendConfig("b1", "127.0.0.1", 1)]


@pytest.fixture
async def lb(house: House) -> Balancer:
    return house.balancer(SOMEWHERE, limits=Limits(head_bytes=1000))


async def test_everything_is_sent_to_a_client_that_reads_slowly(lb: Balancer) -> None:
    client, far = guest(lb)
    data = bytes(range(256)) * 8000
    client.allow(5)
    send = driven(client.wakeup, send_all(client, data))
    assert await far.read(len(data)) == data
    await send
    client.close()
    far.close()


async def test_client_that_does_not_read_in_time_is_given_up(lb: Balancer) -> None:
    client, far = guest(lb)
    client.allow(0.03)
    with pytest.raises(ClientGone, match="does not read"):
        await driven(client.wakeup, send_all(client, bytes(5_000_000)))
    client.close()
    far.close()


async def test_client_that_is_gone_is_noticed_when_sending(lb: Balancer) -> None:
    client, far = guest(lb)
    far.close()
    client.allow(5)
    with pytest.raises(ClientGone):
        await driven(client.wakeup, send_all(client, bytes(5_000_000)))
    client.close()


async def test_bytes_sent_ahead_are_kept_within_bounds(lb: Balancer) -> None:
    client, far = guest(lb)
    await far.send(b"x" * 700)
    client.channel.readable = True
    client.notice_departure()
    assert client.inbox == b"x" * 700
    await far.send(b"y" * 5000)
    client.channel.readable = True
    client.notice_departure()
    assert client.inbox == b"x" * 700 + b"y" * 300, "one head limit, the rest stays in the kernel"
    client.close()
    far.close()


class Timers:
    """The part of a loop that does something later, when the test says so."""

    def __init__(self) -> None:
        self.due: list[Callable[[], object]] = []

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> None:
        self.due.append(callback)


async def test_one_look_at_a_time_is_due_however_often_a_client_with_a_full_inbox_is_woken(
    lb: Balancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, far = guest(lb)
    timers = Timers()
    monkeypatch.setattr(lb.hub, "loop", timers)
    await far.send(b"x" * 5000)
    client.channel.readable = True
    for number in range(1, 4):
        for _ in range(5):
            client.notice_departure()
        assert len(timers.due) == number
        timers.due[-1]()
    client.close()
    far.close()


async def test_client_that_broke_off_is_noticed(lb: Balancer) -> None:
    client, far = guest(lb)
    far.close()
    client.channel.readable = True
    with pytest.raises(ClientGone):
        client.notice_departure()
    client.close()


async def test_wait_for_bytes_ends_at_the_deadline(lb: Balancer) -> None:
    client, far = guest(lb)
    client.channel.readable = False
    client.allow(0.03)
    assert not await driven(client.wakeup, wait_readable(client))
    client.allow(5)
    await far.send(b"x")
    assert await driven(client.wakeup, wait_readable(client))
    client.close()
    far.close()


async def test_lingering_waits_until_the_client_has_read_and_gone(lb: Balancer) -> None:
    client, far = guest(lb)
    await far.send(b"x" * 100_000)
    lingering = driven(client.wakeup, linger(client))
    assert await far.ended(), "the end is told at once"
    assert not lingering.done()
    await far.send(b"y" * 100_000)
    far.close()
    await lingering
    client.close()


async def test_lingering_reads_only_when_there_is_something(lb: Balancer, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int | None] = []
    real = Channel.receive_into

    def counted(channel: Channel, view: memoryview) -> int | None:
        reads.append(real(channel, view))
        return reads[-1]

    monkeypatch.setattr(Channel, "receive_into", counted)
    client, far = guest(lb)
    lingering = driven(client.wakeup, linger(client))
    await far.send(b"x" * 100)
    await until(lambda: 100 in reads)
    far.close()
    await lingering
    assert reads.count(None) <= 2, "a refusal of the kernel is believed at once"
    client.close()


async def test_lingering_is_bounded(lb: Balancer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "LINGER_S", 0.03)
    client, far = guest(lb)
    await driven(client.wakeup, linger(client))
    client.close()
    far.close()


@replaces_a_part
async def test_lingering_is_bounded_with_a_client_that_never_stops(
    lb: Balancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "LINGER_S", 0.03)
    monkeypatch.setattr(Channel, "receive_into", lambda channel, view: 1)
    client, far = guest(lb)
    client.channel.readable = True
    async with asyncio.timeout(5):
        await driven(client.wakeup, linger(client))
    client.close()
    far.close()


async def test_closing_twice_is_fine_and_ends_the_guarding(lb: Balancer) -> None:
    client, far = guest(lb)
    client.break_off()
    client.close()
    client.break_off()
    assert len(lb.hub.deadlines) == 0
    await until(lambda: client.channel.is_closed)
    far.close()
