"""Messages of the admin listener: read as HTTP, bounded in size, number and time."""

import asyncio
import socket
from pathlib import Path

import pytest
from relay.support import House, until

from ocr_tcp_lb.config import TcpAddress, UnixAddress
from ocr_tcp_lb.ops import metrics
from ocr_tcp_lb.ops.admin import http
from ocr_tcp_lb.ops.admin.listener import bind
from ops.house import LOCALHOST, raw, watched


async def test_request_in_pieces_is_answered_once_and_the_connection_ends(house: House) -> None:
    lb = house.balancer([house.backend()])
    async with watched(lb) as admin:
        reader, writer = await asyncio.open_connection(admin.address.host, admin.address.port)  # type: ignore[union-attr]
        for byte in b"GET /healthz HTTP/1.1\r\nHost: localhost:4998\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
        got = await reader.read()
        writer.close()
    assert got.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in got
    assert got.endswith(b"\r\n\r\nok\n")


async def test_head_gets_no_body(house: House) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        got = await admin.ask("/healthz", "HEAD")
    assert (got.status, got.fields["content-length"], got.body) == (200, "3", b"")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000, 431),
        (b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400),
        (b"POST /control/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 70000\r\n\r\n" + bytes(70_000), 413),
    ],
)
async def test_what_cannot_be_read_is_refused_with_a_reason_that_arrives(
    house: House, data: bytes, status: int
) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        got = await raw(admin.address, data)
    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert b'"error"' in got


async def test_client_that_leaves_without_a_request_is_forgotten(house: House) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        _, writer = await asyncio.open_connection(admin.address.host, admin.address.port)  # type: ignore[union-attr]
        places = admin.listener._places
        await until(lambda: len(places) == 1)
        writer.close()
        await until(lambda: len(places) == 0)


async def test_thousand_idle_connections_lock_nobody_out(house: House) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        places = admin.listener._places
        idle = []
        for _ in range(20):
            idle += await asyncio.gather(
                *(asyncio.open_connection(admin.address.host, admin.address.port) for _ in range(50))  # type: ignore[union-attr]
            )
            assert len(places) <= http.MOST_CONNECTIONS
        assert (await admin.ask("/healthz")).status == 200
        for _, writer in idle:
            writer.transport.abort()
        await until(lambda: len(places) == 0)


async def test_client_that_does_not_read_is_let_go(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where the kernel and the transport's buffer together hold the whole reply."""
    monkeypatch.setattr(http, "EXCHANGE_S", 0.2)
    sizes = iter(range(180_000, 340_000, 20_000))
    monkeypatch.setattr(metrics, "pieces", lambda monitor: ["x" * next(sizes)])
    address = UnixAddress(str(tmp_path / "admin"))
    async with watched(house.balancer([house.backend()]), address) as admin:
        clients = [await asyncio.open_unix_connection(address.path, limit=1) for _ in range(8)]
        for _, writer in clients:
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: next(sizes, None) is None)
        await until(lambda: not len(admin.listener._places))
        for _, writer in clients:
            writer.transport.abort()


async def test_who_talks_keeps_its_place_and_the_longest_silent_loses_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MOST_CONNECTIONS", 2)
    async with watched(house.balancer([house.backend()])) as admin:
        port = admin.address.port  # type: ignore[union-attr]
        talker, says = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: len(admin.listener._places) == 1)
        first = next(iter(admin.listener._places._tasks))
        silent, says_nothing = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: len(admin.listener._places) == 2)
        says.write(b"GET /healthz HTTP/1.1\r\n")
        await until(lambda: next(iter(admin.listener._places._tasks)) is not first)
        assert (await admin.ask("/healthz")).status == 200, "a newcomer"
        assert await ended(silent)
        says.write(b"Host: localhost\r\n\r\n")
        assert (await talker.read()).startswith(b"HTTP/1.1 200 ")
        for writer in (says, says_nothing):
            writer.transport.abort()


async def test_places_are_those_of_all_sockets_together(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MOST_CONNECTIONS", 2)
    async with watched(house.balancer([house.backend()])) as admin:
        await admin.listener.start(bind(LOCALHOST))
        ports = [address.port for address in admin.listener.addresses]  # type: ignore[union-attr]
        clients = []
        for port in (*ports, *ports):
            before = set(admin.listener._places._tasks)
            clients.append(await asyncio.open_connection("127.0.0.1", port))
            await until(lambda before=before: set(admin.listener._places._tasks) - before)
        assert await ended(clients[0][0])
        assert await ended(clients[1][0])
        assert len(admin.listener._places) == 2
        for _, writer in clients:
            writer.transport.abort()


async def test_burst_that_takes_its_own_places_leaves_nothing_open(house: House) -> None:
    """The fixture looks for descriptors: who is cut off before it was looked at has one, too."""
    async with watched(house.balancer([house.backend()])) as admin:
        places = admin.listener._places
        address = admin.address
        assert isinstance(address, TcpAddress)
        idle = [
            socket.create_connection((address.host, address.port)) for _ in range(3 * http.MOST_CONNECTIONS)
        ]  # in one turn of the loop
        await until(lambda: len(places) == http.MOST_CONNECTIONS)
        for one in idle:
            one.close()
        await until(lambda: not len(places))


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(), 5) == b""
    except ConnectionResetError:
        return True


async def test_connection_that_says_nothing_ends_by_itself(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "EXCHANGE_S", 0.05)
    async with watched(house.balancer([house.backend()])) as admin:
        assert await raw(admin.address, b"GET / HT") == b""


async def test_target_of_two_slashes_does_not_say_whom_it_is_for(house: House) -> None:
    """A page on a name that was rebound to this address may send such a path (and no browser sends whole URLs)."""
    async with watched(house.balancer([house.backend()])) as admin:
        got = await raw(admin.address, b"GET //localhost/status.json HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        whole = await raw(admin.address, b"GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 421 ")
    assert whole.startswith(b"HTTP/1.1 200 "), "RFC 9112, 3.2.2: an absolute target counts instead of Host"


async def test_health_check_of_haproxy_is_answered(house: House) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        for check in (b"OPTIONS /readyz", b"GET /readyz", b"GET /healthz"):
            got = await raw(admin.address, check + b" HTTP/1.0\r\n\r\n")
            assert got.startswith(b"HTTP/1.1 405 " if b"OPTIONS" in check else b"HTTP/1.1 200 ")


async def test_mistake_of_ours_is_answered_and_told(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(house.balancer([house.backend()])) as admin:
        monkeypatch.setattr(metrics, "pieces", lambda monitor: Path("/nowhere").read_text())
        got = await admin.ask("/metrics")
    assert (got.status, got.json["error"]["code"]) == (500, "internal_error")
    assert "FileNotFoundError" in caplog.text
    caplog.clear()


async def test_pages_are_shown_to_the_end_of_a_drain(house: House) -> None:
    lb = house.balancer([house.backend()])
    async with watched(lb) as admin:
        await lb.server.drain(0.0)
        assert [(await admin.ask(path)).status for path in ("/", "/status.json", "/metrics")] == [200, 200, 200]
