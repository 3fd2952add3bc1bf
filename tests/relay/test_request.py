"""What is told with each reply, and which part of an exchange counts as the backend's time."""

import re

import pytest

from ocr_tcp_lb.balance import Lease
from ocr_tcp_lb.balance.learned import Learned
from ocr_tcp_lb.config import Limits
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.relay.request import own_fields

from .support import GET, OK, Balancer, House, pattern, reply, until

DURATIONS = re.compile(rb"queue;dur=([0-9.]+), backend;dur=([0-9.]+), total;dur=([0-9.]+)")


def only_lease(lb: Balancer) -> Lease:
    learner = lb.hub.fleet.backends[0].learner
    assert isinstance(learner, Learned)
    (lease,) = learner._out
    assert isinstance(lease, Lease)
    return lease


def test_server_timing_says_where_the_time_went() -> None:
    record = Record("127.0.0.1", b"id")
    record.began, record.asked, record.leased = 10.0, 10.001, 10.251
    assert own_fields(record, 10.751) == (
        b"X-Request-Id: id\r\nServer-Timing: queue;dur=250.0, backend;dur=500.0, total;dur=751.0\r\n"
    )


async def test_every_reply_of_a_backend_carries_server_timing_beside_its_own(house: House) -> None:
    backend = house.backend()
    backend.answer(lambda request: reply(b"ok", b"Server-Timing: model;dur=3"))
    client = await house.balancer([backend]).client()
    for _ in range(2):
        await client.send(GET)
        theirs, ours = sorted((await client.read_message()).values(b"server-timing"))
        assert theirs == b"model;dur=3"
        found = DURATIONS.fullmatch(ours)
        assert found is not None
        queue, at_backend, total = (float(value) for value in found.groups())
        assert queue + at_backend <= total + 0.2


@pytest.mark.parametrize("body_bytes", [2, 3_000_000], ids=["small", "large"])
async def test_a_backend_has_answered_when_its_reply_begins_however_slowly_the_client_reads(
    house: House, body_bytes: int
) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client(receive_buffer=4096)
    await client.send(GET)
    worker = await backend.accept()
    await worker.read_head()
    lease = only_lease(lb)
    await worker.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % body_bytes)
    await until(lambda: lease.answered_at is not None)
    assert lb.in_flight() == 1
    await worker.send(bytes(2))
    client.reset()
    worker.close()


async def test_a_streamed_upload_is_not_the_backends_time(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=Limits(request_buffer_bytes=1000))
    client = await lb.client()
    body = pattern(100_000)
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:50_000])
    worker = await backend.accept()
    await worker.read_until(b"\r\n\r\n")
    await worker.read(50_000)
    lease = only_lease(lb)
    granted_at = lease.granted_at
    await client.send(body[50_000:])
    assert await worker.read(50_000) == body[50_000:]
    await worker.send(OK)
    await client.read_message()
    assert (await lb.record()).leased == granted_at < lease.granted_at
    worker.close()
