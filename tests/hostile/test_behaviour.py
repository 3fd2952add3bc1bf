"""What takes more than one request and one reply: expectations, half-closes, pipelines, and leaving in every phase."""

import asyncio
import random

import pytest
from relay.support import GET, OK, Balancer, House, Message, Peer, chunked, pattern, post, reply, until

from ocr_tcp_lb.config import Limits, QueueConfig, Timeouts

SMALL_BUFFER = Limits(request_buffer_bytes=64 * 1024)
EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
TURNS = 30


async def few_turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


# Pipelines (RFC 9112 section 9.3.2)


def mixed(number: int) -> bytes:
    """A request of some kind that tells its number."""
    body = b"body of %d" % number * number
    match number % 5:
        case 0:
            return b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number
        case 1:
            return b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (number, len(body), body)
        case 2:
            return b"POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%b" % (number, chunked(body, b"x"))
        case 3:
            return b"HEAD /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number
    return b"PUT /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % number


def answer_of(request: Message) -> bytes:
    """A reply that tells whose it is; its framing changes from one to the next."""
    method, target, _ = request.start.split(b" ")
    number = int(target[1:])
    told = b"%b %b %d" % (method, target, len(request.body))
    if method == b"HEAD":
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % number
    if number % 4 == 0:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(told)
    return reply(told)


@pytest.mark.parametrize("seed", [None, 1, 2])
async def test_twenty_mixed_requests_in_a_pipeline_are_answered_in_order(house: House, seed: int | None) -> None:
    backends = [house.backend(), house.backend()]
    for backend in backends:
        backend.answer(answer_of)
    lb = house.balancer(backends)
    client = await lb.client()
    stream = b"".join(mixed(number) for number in range(20))
    sending = asyncio.ensure_future(send_cut(client, stream, seed))
    for number in range(20):
        got = await client.read_message(has_body=number % 5 != 3)
        size = 0 if number % 5 not in (1, 2) else len(b"body of %d" % number * number) + (number % 5 == 2)
        method = (b"GET", b"POST", b"POST", b"HEAD", b"PUT")[number % 5]
        assert got.body == (b"" if method == b"HEAD" else b"%b /%d %d" % (method, number, size))
    await sending
    assert [record.target for record in lb.records] == [b"/%d" % number for number in range(20)]


async def send_cut(client: Peer, stream: bytes, seed: int | None) -> None:
    """All at once, or in pieces of random sizes."""
    rng = random.Random(seed)
    while stream:
        size = len(stream) if seed is None else rng.randint(1, 90)
        await client.send(stream[:size])
        await asyncio.sleep(0)
        stream = stream[size:]


async def test_bytes_behind_a_refused_head_in_a_pipeline_are_not_served(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(GET + b"GET / HTTP/1.1\r\nHost : a\r\n\r\n" + GET)
    assert (await client.read_message()).status == 200
    assert (await client.read_message()).status == 400
    client.finish()
    assert await client.ended()
    assert len(backend.requests) == 1


# Expectations (RFC 9110 section 10.1.1)


async def test_client_that_waits_is_told_to_continue_once(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(EXPECTING % 5)
    assert (await client.read_head()).status == 100
    await client.send(b"hello")
    assert (await client.read_message()).status == 200
    assert backend.requests[0].body == b"hello"
    assert backend.requests[0].values(b"expect") == []


async def test_client_that_does_not_wait_is_served_with_one_final_reply(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(EXPECTING % 5 + b"hello" + GET)
    statuses = []
    while statuses.count(200) < 2:
        statuses.append((await client.read_message()).status)
    assert statuses in ([200, 200], [100, 200, 200])


async def test_too_large_expectation_is_refused_before_the_body(house: House) -> None:
    lb = house.balancer([house.backend()], limits=Limits(body_bytes=4))
    client = await lb.client()
    await client.send(EXPECTING % 5)
    assert (await client.read_message()).status == 413
    client.finish()
    assert await client.ended()


async def test_final_status_of_the_backend_spares_the_body(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], limits=SMALL_BUFFER)
    client = await lb.client()
    await client.send(EXPECTING % 100_000)
    peer = await backend.accept()
    assert (await peer.read_head()).values(b"expect") == [b"100-continue"]
    await peer.send(reply(b"no", status=b"403 Forbidden"))
    got = await client.read_message()
    assert (got.status, got.values(b"connection")) == (403, [b"close"])
    client.finish()
    assert await client.ended()


async def test_expectation_of_http_1_0_is_not_answered(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send((EXPECTING % 5).replace(b"HTTP/1.1", b"HTTP/1.0"))
    await few_turns()
    await client.send(b"hello")
    assert (await client.read_message()).status == 200


# Half-closed clients (RFC 9112 section 9.6)


async def in_computation(house: House, request: bytes = GET) -> tuple[Balancer, Peer, Peer]:
    """A client whose request a backend has, and works on."""
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)])
    client = await lb.client()
    await client.send(request)
    peer = await backend.accept()
    await peer.read_message()
    return lb, client, peer


async def final_of(client: Peer) -> Message:
    """The final reply, interim ones skipped."""
    while (got := await client.read_message()).status < 200:
        pass
    return got


@pytest.mark.parametrize("when", ["with the request", "before the reply"])
async def test_client_that_ends_its_sending_half_gets_its_reply(house: House, when: str) -> None:
    backend = house.backend()
    lb = house.balancer([backend])
    client = await lb.client()
    await client.send(post(b"image"))
    if when == "with the request":
        client.finish()
    peer = await backend.accept()
    await peer.read_message()
    if when == "before the reply":
        client.finish()
    await few_turns()
    assert lb.in_flight() == 1
    await peer.send(reply(pattern(300_000)))
    assert (await final_of(client)).body == pattern(300_000)
    assert await client.ended()


async def test_half_closed_client_gets_all_replies_of_its_pipeline(house: House) -> None:
    lb, client, peer = await in_computation(house, GET)
    await client.send(GET + post(b"x"))
    client.finish()
    await few_turns()
    for _ in range(2):
        await peer.send(OK)
        assert (await final_of(client)).body == b"ok"
        await peer.read_message()
    await peer.send(OK)
    assert (await final_of(client)).body == b"ok"
    assert await client.ended()
    assert [record.status for record in lb.records] == [200, 200, 200]


async def test_half_closed_client_gets_its_reply_though_it_waited_in_the_queue(house: House) -> None:
    lb, first, peer = await in_computation(house)
    second = await lb.client()
    await second.send(GET)
    second.finish()
    await until(lambda: lb.waiting == 1)
    await few_turns()
    await peer.send(OK)
    await first.read_message()
    await peer.read_message()
    await peer.send(OK)
    assert (await final_of(second)).body == b"ok"


async def test_client_that_really_left_is_told_from_one_that_ended_its_half(house: House) -> None:
    lb, first, peer = await in_computation(house)
    second = await lb.client()
    await second.send(GET)
    await until(lambda: lb.waiting == 1)
    second.close()
    async with asyncio.timeout(1):
        await until(lambda: lb.waiting == 0)
    await peer.send(OK)
    await first.read_message()


async def test_half_closed_client_of_http_1_0_is_not_sent_an_interim_reply(house: House) -> None:
    lb, client, peer = await in_computation(house, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    client.finish()
    await few_turns()
    await peer.send(OK)
    assert client.received == b""
    assert (await lb.record()).ending == "client_left"


async def test_probe_is_never_left_half_sent(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from ocr_tcp_lb.relay.client import Client

    lb, client, peer = await in_computation(house)
    (ours,) = lb.server._clients
    assert isinstance(ours, Client)
    real = ours.channel.sock

    class Tight:
        """A socket whose buffer has room for nine more bytes."""

        def send(self, data: bytes) -> int:
            return real.send(data[:9])

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

    ours.channel.sock = Tight()  # type: ignore[assignment]
    client.finish()
    assert await client.read_to_end() == (b"HTTP/1.1 ", "end"), "nothing may follow half an interim reply"
    await peer.send(OK)


# Clients that leave, in each phase


LEAVE = ["close", "reset", "finish"]
PHASES = ["connected", "head", "body", "stream", "queue", "backend", "reply"]


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("phase", PHASES)
async def test_client_that_leaves_costs_nothing_for_long(house: House, phase: str, leave: str) -> None:
    backend = house.backend()
    lb = house.balancer([backend.config("b1", concurrency=1)], limits=SMALL_BUFFER, timeouts=Timeouts(response_s=5))
    client = await lb.client()
    holder = await bring_to(phase, lb, backend, client)
    getattr(client, leave)()
    if holder is not None:
        await holder.send(OK if phase != "reply" else pattern(300_000))
        holder.close()
    backend.answer()
    async with asyncio.timeout(3):
        await until(lambda: lb.in_flight() == lb.waiting == 0)
    other = await lb.client()
    await other.send(GET)
    assert (await final_of(other)).status == 200


async def bring_to(phase: str, lb: Balancer, backend: object, client: Peer) -> Peer | None:
    """Bring the client to that phase; returns the connection of the backend that holds the slot, if one does."""
    assert hasattr(backend, "accept")
    match phase:
        case "head":
            await client.send(GET[:9])
        case "body":
            await client.send(post(b"image")[:-1])
        case "stream":
            await client.send(post(pattern(200_000))[:100_000])
            await backend.accept()
        case "queue":
            first = await lb.client()
            await first.send(GET)
            peer: Peer = await backend.accept()
            await client.send(GET)
            await until(lambda: lb.waiting == 1)
            return peer
        case "backend":
            await client.send(GET)
            peer = await backend.accept()
            await peer.read_message()
            return peer
        case "reply":
            await client.send(GET)
            peer = await backend.accept()
            await peer.read_message()
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + pattern(300_000))
            await client.read_head()
            return peer
    await few_turns()
    return None


# Limits


async def test_one_address_may_have_only_so_many_connections(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend], limits=Limits(connections_per_client=2))
    clients = [await lb.client() for _ in range(3)]
    for client, status in zip(clients, (200, 200, 429), strict=True):
        await client.send(GET)
        got = await client.read_message()
        assert got.status == status
    assert got.values(b"retry-after") == [b"1"]
    assert got.values(b"connection") == [b"close"]
    assert b"too_many_connections" in got.body
    clients[2].finish()
    assert await clients[2].ended()
    clients[0].close()
    await until(lambda: lb.server.connections == 1)
    again = await lb.client()
    await again.send(GET)
    assert (await again.read_message()).status == 200


async def test_connection_over_the_clients_limit_is_closed_in_tcp_mode(house: House) -> None:
    backend = house.backend()
    lb = house.balancer([backend], mode="tcp", limits=Limits(connections_per_client=1))
    first = await lb.client()
    await first.send(b"x")
    peer = await backend.accept()
    second = await lb.client()
    assert (await second.read_to_end())[0] == b""
    await peer.send(b"y")
    assert await first.read(1) == b"y"


async def test_chunks_of_one_byte_do_not_stop_the_others(house: House) -> None:
    backend = house.backend()
    backend.answer()
    lb = house.balancer([backend], queue=QueueConfig(timeout_s=5))
    hostile, other = await lb.client(), await lb.client()
    await hostile.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    flood = asyncio.ensure_future(hostile.send(b"1\r\nx\r\n" * 400_000))
    loop = asyncio.get_running_loop()
    longest = 0.0
    for _ in range(10):
        began = loop.time()
        await other.send(GET)
        assert (await other.read_message()).status == 200
        longest = max(longest, loop.time() - began)
    hostile.close()
    flood.cancel()
    await asyncio.gather(flood, return_exceptions=True)
    assert longest < 0.5, "a turn is bounded"
