"""The cast of the relay's tests: a balancer in the test's own loop, scripted backends, raw clients.

Both sides are a `Peer`: a socket that sends the bytes it is told to and remembers all that it received. Every
wait is bounded by `PATIENCE_S`, so that a stuck balancer fails the test at the line that waits for it.
"""

import asyncio
import math
import os
import select
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NoReturn, TypeVar

import pytest

from ocr_tcp_lb.app import build_hub
from ocr_tcp_lb.compiled import is_compiled
from ocr_tcp_lb.config import Address, BackendConfig, Config, TcpAddress, UnixAddress
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.readiness import Wakeup
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.relay.server import Server
from ocr_tcp_lb.relay.sockets import open_listeners
from ocr_tcp_lb.relay.upstream import Upstream

T = TypeVar("T")
PATIENCE_S = 8.0
replaces_a_part = pytest.mark.skipif(
    is_compiled(), reason="stands in for a part of what is compiled, which cannot be done"
)
LOCALHOST = TcpAddress("127.0.0.1", 0)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def post(body: bytes, *fields: bytes, method: bytes = b"POST") -> bytes:
    """A request with a Content-Length."""
    lines = [method + b" / HTTP/1.1", b"Host: a", b"Content-Length: %d" % len(body), *fields, b"", body]
    return b"\r\n".join(lines)


def chunked(*chunks: bytes) -> bytes:
    """A whole body in the chunked coding."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def reply(body: bytes, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """A reply with a Content-Length."""
    return b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *fields, b"", body])


def pattern(size: int) -> bytes:
    """Bytes in which every shift, loss and repetition shows."""
    words = b"".join(b"%08x" % number for number in range(min(size, 1 << 19) // 8 + 1))
    return (words * (size // len(words) + 1))[:size]


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until a condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 (what is watched has no event)
            await asyncio.sleep(0)


def driven(wakeup: Wakeup, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
    """Let a wake-up drive a coroutine of the relay; returns the future of what comes of it."""
    outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        try:
            outcome.set_result(await work)
        except asyncio.CancelledError:
            outcome.cancel()
            raise
        except Exception as error:
            outcome.set_exception(error)

    wakeup.drive(run(), lambda: None)
    return outcome


@dataclass(frozen=True)
class Message:
    """A request or a reply as a peer received it; `body` is free of chunking."""

    start: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        """All values of a field; the name in lower case."""
        return [value for each, value in self.fields if each.lower() == name]

    @property
    def status(self) -> int:
        """The status of a reply."""
        return int(self.start.split(b" ")[1])


class Peer:
    """One end of a connection to the balancer: `received` holds what has not been looked at yet."""

    def __init__(self, sock: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self.sock = sock
        self.received = b""
        self.total_received = 0
        self.total_sent = 0

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        async with asyncio.timeout(PATIENCE_S):
            await self._loop.sock_sendall(self.sock, data)
        self.total_sent += len(data)

    async def send_for_ever(self) -> NoReturn:
        """Send until that raises ConnectionError, as it does when the other side closes."""
        while True:
            await self.send(bytes(100_000))

    async def send_bytewise(self, data: bytes) -> None:
        """Send each byte so that the other side reads it on its own."""
        for index in range(len(data)):
            await self.send(data[index : index + 1])
            for _ in range(3):
                await asyncio.sleep(0)

    async def _receive(self) -> bool:
        """Wait for more bytes; False at the end of the stream."""
        async with asyncio.timeout(PATIENCE_S):
            data = await self._loop.sock_recv(self.sock, 1 << 18)
        self.received += data
        self.total_received += len(data)
        return bool(data)

    async def read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        pieces, have = [self.received], len(self.received)
        self.received = b""
        while have < size:
            assert await self._receive(), f"the stream ended after {have} of {size} bytes"
            pieces.append(self.received)
            have += len(self.received)
            self.received = b""
        data = b"".join(pieces)
        self.received = data[size:]
        return data[:size]

    async def read_until(self, mark: bytes) -> bytes:
        """All bytes up to and including a mark."""
        while mark not in self.received:
            assert await self._receive(), f"the stream ended with {self.received[-200:]!r}"
        end = self.received.index(mark) + len(mark)
        data, self.received = self.received[:end], self.received[end:]
        return data

    async def read_head(self) -> Message:
        """A head, without what follows it."""
        start, *lines = (await self.read_until(b"\r\n\r\n"))[:-4].split(b"\r\n")
        fields = tuple((name, value) for name, _, value in (line.partition(b": ") for line in lines))
        return Message(start, fields, b"")

    async def read_message(self, *, has_body: bool = True) -> Message:
        """A whole message, by the framing that its head tells."""
        head = await self.read_head()
        if not has_body or head.start.startswith((b"HTTP/1.1 1", b"HTTP/1.1 204", b"HTTP/1.1 304")):
            return head
        if head.values(b"transfer-encoding"):
            return replace(head, body=await self._read_chunks())
        if lengths := head.values(b"content-length"):
            return replace(head, body=await self.read(int(lengths[0])))
        if head.start.startswith(b"HTTP/"):
            body, ending = await self.read_to_end()
            assert ending == "end", "a reply that runs until the close was broken off"
            return replace(head, body=body)
        return head

    async def read_final(self) -> Message:
        """The final reply to a request, interim ones passed over."""
        while (got := await self.read_message()).status < 200:
            pass
        return got

    async def _read_chunks(self) -> bytes:
        chunks = []
        while size := int((await self.read_until(b"\r\n")).split(b";")[0], 16):
            chunks.append(await self.read(size))
            assert await self.read(2) == b"\r\n"
        while await self.read_until(b"\r\n") != b"\r\n":
            pass  # a trailer
        return b"".join(chunks)

    async def read_to_end(self) -> tuple[bytes, str]:
        """What comes until the connection ends, and how it ended: `end` (FIN) or `reset`."""
        pieces = [self.received]
        self.received = b""
        try:
            while await self._receive():
                pieces.append(self.received)
                self.received = b""
        except ConnectionResetError:
            return b"".join(pieces), "reset"
        return b"".join(pieces), "end"

    async def ended(self) -> bool:
        """Wait for the connection's end; True if it is clean and nothing came before it."""
        return await self.read_to_end() == (b"", "end")

    def has_news(self) -> bool:
        """Whether bytes are there that nobody read; only `sock` is asked."""
        return bool(select.select([self.sock], [], [], 0)[0])

    def finish(self) -> None:
        """Half-close: no more bytes from here."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close; a FIN if everything was read."""
        self.sock.close()

    def reset(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.sock.close()


class Stuffed:
    """A socket that takes nothing of what is sent in pieces of up to so many bytes."""

    def __init__(self, sock: socket.socket, up_to: float = math.inf) -> None:
        self._sock = sock
        self._up_to = up_to

    def send(self, data: bytes) -> int:
        """Send a longer piece."""
        if len(data) > self._up_to:
            return self._sock.send(data)
        raise BlockingIOError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class ScriptedBackend:
    """A backend that does nothing by itself: the test accepts its connections and speaks its bytes."""

    def __init__(self, host: str = "127.0.0.1", *, port: int = 0, receive_buffer: int = 0) -> None:
        self._loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_STREAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._sock.setblocking(False)
        self._sock.bind((host, port))
        self._sock.listen(128)
        self.host = host
        self.port = self._sock.getsockname()[1]
        self.peers: list[Peer] = []
        self.requests: list[Message] = []  # those served by `answer`
        self._tasks: set[asyncio.Task[None]] = set()

    def config(self, name: str, path: str = "/", **more: object) -> BackendConfig:
        """How the balancer is told about it."""
        return replace(BackendConfig(name, self.host, self.port, path), **more)  # type: ignore[arg-type]

    async def accept(self) -> Peer:
        """The next connection."""
        async with asyncio.timeout(PATIENCE_S):
            sock, _ = await self._loop.sock_accept(self._sock)
        sock.setblocking(False)
        self.peers.append(Peer(sock))
        return self.peers[-1]

    def has_caller(self) -> bool:
        """Whether a connection waits that nobody accepted."""
        try:
            sock, _ = self._sock.accept()
        except BlockingIOError:
            return False
        sock.close()
        return True

    def answer(self, reply_to: Callable[[Message], bytes] = lambda request: OK) -> None:
        """From now on, accept every connection and answer every request."""
        self._start(self._accept_all(reply_to))

    async def _accept_all(self, reply_to: Callable[[Message], bytes]) -> None:
        while True:
            sock, _ = await self._loop.sock_accept(self._sock)
            sock.setblocking(False)
            self.peers.append(Peer(sock))
            self._start(self._answer_all(self.peers[-1], reply_to))

    async def _answer_all(self, peer: Peer, reply_to: Callable[[Message], bytes]) -> None:
        try:
            while True:
                while not peer.received:
                    data = await self._loop.sock_recv(peer.sock, 1 << 16)
                    if not data:
                        return
                    peer.received += data
                request = await peer.read_message()
                self.requests.append(request)
                await peer.send(reply_to(request))
        except ConnectionError:
            pass  # the balancer is done with this connection
        finally:
            peer.close()

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Refuse connections from now on; those that stand stay."""
        self._sock.close()

    async def close(self) -> None:
        """End everything."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._sock.close()
        for peer in self.peers:
            peer.close()


class Balancer:
    """The balancer under test, listening on free ports, its records collected."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.records: list[Record] = []
        self.hub = build_hub(asyncio.get_running_loop(), config, self.records.append)
        self.server = Server(self.hub, open_listeners(config.listen))
        self._clients: list[Peer] = []

    @property
    def address(self) -> Address:
        """Where clients find it."""
        return self.server.addresses[0]

    async def client(self, address: Address | None = None, *, receive_buffer: int = 0) -> Peer:
        """A connected raw client."""
        address = address or self.address
        if isinstance(address, UnixAddress):
            sock, target = socket.socket(socket.AF_UNIX), address.path
        else:
            sock = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            target = (address.host, address.port)  # type: ignore[assignment]
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        peer = Peer(sock)
        self._clients.append(peer)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.get_running_loop().sock_connect(sock, target)
        return peer

    async def record(self, number: int = 0) -> Record:
        """The record of the request that ended as the `number`-th."""
        await until(lambda: len(self.records) > number)
        return self.records[number]

    def upstream(self, name: str) -> Upstream:
        """The connections to the backend of this name."""
        return next(one for backend, one in self.hub.upstreams.items() if backend.name == name)

    def in_flight(self) -> int:
        """How many slots are taken, of all backends."""
        return sum(backend.in_flight for backend in self.hub.fleet.backends)

    @property
    def waiting(self) -> int:
        """How many requests wait in the queue."""
        return self.hub.fleet.waiting

    async def close(self) -> None:
        """Let the clients go, wait for every session to end, and see that everything was given back."""
        for client in self._clients:
            client.close()
        cut_off = await self.server.drain(PATIENCE_S)
        hub = self.hub
        assert cut_off == 0, f"{cut_off} sessions did not end when their clients had left"
        assert self.in_flight() == 0, f"slots are still taken: {hub.fleet.backends}"
        assert hub.fleet.waiting == 0, "somebody still waits in the queue"
        assert hub.slabs.used_bytes == 0, f"body memory was not given back: {hub.slabs}"
        assert len(hub.deadlines) == 0, "a client that is gone is still guarded"
        assert hub.pipes._made == len(hub.pipes._free), "a pipe was not given back"
        assert all(pipe.fill == 0 for pipe in hub.pipes._free), "a pipe was given back with bytes in it"
        stores = hub.reservoirs.stores
        assert stores._made == len(stores._free), "a store was not given back"
        hub.close()


class House:
    """Makes the cast and takes it down again; the `house` fixture checks that nothing is left behind."""

    express = True  # whether small requests may take the express lane

    def __init__(self) -> None:
        self.backends: list[ScriptedBackend] = []
        self.balancers: list[Balancer] = []

    def backend(self, host: str = "127.0.0.1", *, port: int = 0, receive_buffer: int = 0) -> ScriptedBackend:
        """A scripted backend on a free port."""
        self.backends.append(ScriptedBackend(host, port=port, receive_buffer=receive_buffer))
        return self.backends[-1]

    def balancer(
        self,
        backends: Sequence[BackendConfig | ScriptedBackend],
        *,
        listen: Iterable[Address] = (LOCALHOST,),
        **more: object,
    ) -> Balancer:
        """A balancer before these backends, which are called b1, b2 and so on unless they say otherwise."""
        named = tuple(
            one.config(f"b{number}") if isinstance(one, ScriptedBackend) else one
            for number, one in enumerate(backends, 1)
        )
        config = replace(Config(listen=tuple(listen), backends=named, access_log="off"), **more)  # type: ignore[arg-type]
        self.balancers.append(Balancer(config))
        self.balancers[-1].hub.express &= self.express
        return self.balancers[-1]

    async def close(self) -> None:
        """Everybody goes home: the backends first, so that no ghost holds a slot."""
        for backend in self.backends:
            await backend.close()
        for balancer in self.balancers:
            await balancer.close()


async def served_once(
    house: House,
    *,
    backend_buffer: int = 0,
    client_buffer: int = 0,
    concurrency: int | Literal["auto"] = "auto",
    **config: object,
) -> tuple[Balancer, Peer, Peer]:
    """Balancer, client and backend after a first request: the next one may take the express lane."""
    backend = house.backend(receive_buffer=backend_buffer)
    lb = house.balancer([backend.config("b1", concurrency=concurrency)], **config)
    client = await lb.client(receive_buffer=client_buffer)
    await client.send(GET)
    peer = await backend.accept()
    await peer.read_message()
    await peer.send(OK)
    await client.read_message()
    return lb, client, peer


def open_descriptors() -> dict[int, str]:
    """Every open descriptor of this process and what it is."""
    found = {}
    for name in os.listdir("/dev/fd"):
        try:
            found[int(name)] = os.readlink(f"/dev/fd/{name}")
        except OSError:
            continue  # the one that listed the directory
    return found


def guest(lb: Balancer) -> tuple[Client, Peer]:
    """The balancer's side of a client that no session serves, and the client."""
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
    client = Client(lb.hub, ours, "127.0.0.1")
    lb.hub.deadlines.guard(client)
    return client, Peer(theirs)
