"""What the fleet is told while an attempt goes on: what proves a backend, and what forgives it nothing."""

import asyncio

import pytest

from bench.ports import free_port
from ocr_tcp_lb.balance.health import State
from ocr_tcp_lb.config import BackendConfig, Limits, Timeouts

from .support import GET, House, pattern, post, replaces_a_part, reply, until
from .test_tcp import call

SMALL = Limits(request_buffer_bytes=64 * 1024)
UPLOAD = pattern(200_000)


def spare() -> BackendConfig:
    """A backend that is never asked, so that the other is not the last one."""
    return BackendConfig("spare", "127.0.0.1", free_port(), weight=0)


@replaces_a_part
async def test_slow_upload_does_not_forgive_its_backend_an_error(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocr_tcp_lb.relay.hub.PROVEN_AFTER_S", 0.02)
    backend = house.backend()
    lb = house.balancer([backend, spare()], limits=SMALL)
    health = lb.hub.fleet.backends[0].health
    for number in range(2):
        assert health.state is State.UP
        client = await lb.client()
        await client.send(post(UPLOAD)[:-1000])
        peer = await backend.accept()
        await peer.read_head()
        await asyncio.sleep(0.05)  # the time in which a trial would be proven
        await client.send(UPLOAD[-1000:])
        assert await peer.read(len(UPLOAD)) == UPLOAD
        await peer.send(reply(b"x", status=b"500 Oops"))
        assert (await client.read_message()).status == 500
        await until(lambda number=number: len(lb.records) > number)  # type: ignore[misc]
    assert health.state is State.EJECTED


@replaces_a_part
async def test_connection_that_goes_on_breaks_the_row_of_those_that_hung_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocr_tcp_lb.relay.hub.PROVEN_AFTER_S", 0.3)
    backend = house.backend()
    lb = house.balancer([backend, spare()], mode="tcp")
    health = lb.hub.fleet.backends[0].health
    client = await lb.client()
    await client.send(b"hello")
    await backend.accept()
    for _ in range(4):
        await call(lb, backend, "close")
    await until(lambda: health._errors_in_a_row == 0)
    await call(lb, backend, "close")
    assert health.state is State.UP


@pytest.mark.parametrize("end", ["stall", "break"])
async def test_error_that_does_not_end_is_an_error_all_the_same(house: House, end: str) -> None:
    backend, other = house.backend(), house.backend()
    other.answer()
    lb = house.balancer([backend, other], policy="round-robin", timeouts=Timeouts(response_s=0.2))
    client = await lb.client()
    await client.send(GET)
    peer = await backend.accept()
    await peer.read_message()
    await peer.send(b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nabc")
    if end == "break":
        peer.close()
    assert (await client.read_message()).status == 200
    assert lb.hub.fleet.backends[0].health.state is State.UP


async def test_upload_that_ends_after_its_reply_began_took_no_negative_time(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=SMALL)
    client = await lb.client()
    await client.send(post(UPLOAD)[:100_000])
    peer = await backend.accept()
    await peer.read_head()
    await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await client.read_until(b"abc\r\n")
    await client.send(post(UPLOAD)[100_000:])
    assert await peer.read(len(UPLOAD)) == UPLOAD
    await peer.send(b"0\r\n\r\n")
    await client.read_until(b"0\r\n\r\n")
    await until(lambda: lb.in_flight() == 0)
    assert lb.hub.fleet.backends[0].service.mean_s >= 0
