"""WebSocket through the balancer, with the `websockets` package on both ends."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from relay.support import PATIENCE_S, Balancer, House, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

from ocr_tcp_lb.config import BackendConfig, Timeouts

MIB = 1024 * 1024
Handler = Callable[[ServerConnection], Awaitable[None]]


@pytest.fixture(autouse=True)
async def reserve() -> None:
    """libuv keeps a descriptor in reserve from its first server on: not to be taken for a leak."""
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    server.close()
    await server.wait_closed()


async def echo(connection: ServerConnection) -> None:
    """Give everything back."""
    async for message in connection:
        await connection.send(message)


@asynccontextmanager
async def chat(
    house: House, handler: Handler = echo, **config: object
) -> AsyncIterator[tuple[ClientConnection, Balancer]]:
    """A connected WebSocket, and the balancer between."""
    async with serve(handler, "127.0.0.1", 0, max_size=2 * MIB, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        lb = house.balancer([BackendConfig("b1", "127.0.0.1", port, "/ws")], **config)
        url = f"ws://127.0.0.1:{lb.address.port}/"  # type: ignore[union-attr]
        async with asyncio.timeout(PATIENCE_S), connect(url, max_size=2 * MIB, compression=None) as client:
            yield client, lb


async def test_text_and_binary_messages_are_echoed(house: House) -> None:
    async with chat(house) as (client, lb):
        for message in ("hello", "\N{SNOWMAN}", b"\x00\xff", "", b""):
            await client.send(message)
            assert await client.recv() == message
    assert (await lb.record()).ending == "tunnel"


async def test_messages_of_a_megabyte_are_echoed_byte_exact(house: House) -> None:
    async with chat(house) as (client, _):
        for seed in range(4):
            message = random.Random(seed).randbytes(MIB)
            await client.send(message)
            got = await client.recv()
            assert hashlib.sha256(got).digest() == hashlib.sha256(message).digest()


async def test_side_that_does_not_read_stops_the_other(house: House) -> None:
    may_read = asyncio.Event()
    digest = hashlib.sha256()

    async def stubborn(connection: ServerConnection) -> None:
        await may_read.wait()
        async for message in connection:
            digest.update(message)

    messages = [random.Random(seed % 4).randbytes(MIB) for seed in range(100)]  # Linux may hold 33 MiB of a connection
    async with chat(house, stubborn) as (client, _):
        sent: list[int] = []

        async def send_all() -> None:
            for message in messages:
                await client.send(message)
                sent.append(len(message))

        sending = asyncio.ensure_future(send_all())
        before = -1
        while before != (before := len(sent)):  # noqa: ASYNC110 (until nothing moves any more)
            await asyncio.sleep(0.1)
        was_stopped = not sending.done()
        may_read.set()  # the server's end waits for it
        await sending
    assert was_stopped, "somebody piled 100 MB up"
    assert digest.digest() == hashlib.sha256(b"".join(messages)).digest()


@pytest.mark.parametrize("code", [1000, 4321])
async def test_close_handshake_of_the_client_reaches_the_server_and_back(house: House, code: int) -> None:
    seen: list[int | None] = []

    async def watch(connection: ServerConnection) -> None:
        try:
            await connection.recv()
        except ConnectionClosed:
            seen.append(connection.close_code)

    async with chat(house, watch) as (client, lb):
        await client.close(code, "bye")
        assert client.close_code == code
        await until(lambda: bool(seen))
        assert seen == [code]
        await until(lambda: lb.in_flight() == 0)


async def test_close_handshake_of_the_server_reaches_the_client(house: House) -> None:
    async def leave(connection: ServerConnection) -> None:
        await connection.close(4000, "go away")

    async with chat(house, leave) as (client, _):
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (4000, "go away")


async def test_silent_websocket_is_ended_after_the_idle_time(house: House) -> None:
    async with chat(house, timeouts=Timeouts(idle_s=0.1)) as (client, lb):
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        assert lb.in_flight() == 0


async def test_ping_keeps_a_websocket_alive(house: House) -> None:
    async with chat(house, timeouts=Timeouts(idle_s=0.3)) as (client, _):
        for _ in range(6):
            await asyncio.sleep(0.1)
            await (await client.ping())
        await client.send("still here")
        assert await client.recv() == "still here"


async def test_refused_handshake_is_an_ordinary_reply(house: House) -> None:
    backend = house.backend()
    backend.answer(lambda request: b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    lb = house.balancer([backend])
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"ws://127.0.0.1:{lb.address.port}/").__aenter__()  # type: ignore[union-attr]
    assert caught.value.response.status_code == 403
