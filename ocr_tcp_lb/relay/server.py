"""The relay as a whole: listeners, the sessions they start, and how all of it comes to an orderly end."""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from functools import partial

from ocr_tcp_lb.config import Address, TcpAddress
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.failures import ClientGone, Refusal
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.introduction import must_introduce, read_introduction
from ocr_tcp_lb.relay.listener import Listener
from ocr_tcp_lb.relay.session import Session
from ocr_tcp_lb.relay.sockets import ListenError, discard, is_at, open_missing, parts_of
from ocr_tcp_lb.relay.talk import refuse
from ocr_tcp_lb.relay.tcp import TcpSession
from ocr_tcp_lb.wire.errors import RequestError

log = logging.getLogger(__name__)
MOST_WITH_GHOSTS = 2  # times the limit of connections, where those count whose request goes on without them
MOST_TURNED_AWAY = 256  # clients above the limit that are being answered at one time; more are reset at once


class Server:
    """Owns every client's coroutine."""

    def __init__(self, hub: Hub, sockets: Iterable[socket.socket], *, owns_files: bool = True) -> None:
        """Serve clients of these sockets; `owns_files`: those of unix sockets are ours to remove, not systemd's."""
        self._hub = hub
        self._owns_files = owns_files
        self._clients: set[Client] = set()
        self._ghosts: set[Client] = set()  # those of them whose connection is closed
        self._on_hang_up = self._count_out  # one for all, or each client would take 64 bytes more
        self._turned_away: set[Client] = set()
        self._counts: Counter[str] = Counter()  # connections by address; kept only if they are limited
        self._all_gone = asyncio.Event()
        self._session_type = TcpSession if hub.config.mode == "tcp" else Session
        self._listeners = [self._listen(sock) for sock in sockets]

    @property
    def addresses(self) -> list[Address]:
        """Where it listens, with real ports."""
        return [listener.address for listener in self._listeners]

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._clients) - len(self._ghosts)

    def _has_room(self) -> bool:
        most = self._hub.limits.connections
        return self.connections < most and len(self._clients) < MOST_WITH_GHOSTS * most

    def _welcome(self, sock: socket.socket, address: str) -> None:
        client = Client(self._hub, sock, address)
        client.on_hang_up = self._on_hang_up
        self._clients.add(client)
        introduces = must_introduce(self._hub, address)
        coroutine = self._introduce(client) if introduces else self._admit(client)
        client.wakeup.drive(coroutine, partial(self._leave, client))  # a third of what a lambda takes

    async def _introduce(self, client: Client) -> None:
        """A trusted proxy first says for whom it comes; whom it names is admitted, or not."""
        self._hub.deadlines.guard(client)
        try:
            await read_introduction(self._hub, client)
        except (RequestError, ClientGone) as error:
            log.warning("trusted proxy %s: %s", client.address, error)
            client.close()
        except BaseException:
            client.close()
            raise
        else:
            await self._admit(client)

    def _admit(self, client: Client) -> Coroutine[None, None, None]:
        """What is to be done with the client: serve it, or tell it that its address has too many connections."""
        most = self._hub.limits.connections_per_client
        if most:
            if self._counts[client.address] >= most:
                self._clients.discard(client)  # or many of them would keep others out while they linger
                return self._dismiss(client, 429, f"the limit of {most} connections from one address is reached")
            self._counts[client.address] += 1
            client.counted_as = client.address
        return self._session_type(self._hub, client).run()

    def _count_out(self, client: Client) -> None:
        """Its connection is closed, though its request may go on for a while: that takes no place from others."""
        if client in self._clients:
            self._ghosts.add(client)
        address, client.counted_as = client.counted_as, None
        if address is not None:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]

    def _leave(self, client: Client) -> None:
        self._clients.discard(client)
        self._ghosts.discard(client)
        if not self._clients:
            self._all_gone.set()

    def _turn_away(self, sock: socket.socket, address: str) -> None:
        """Above the limit of all connections a client is told so."""
        client = Client(self._hub, sock, address)
        message = f"the limit of {self._hub.limits.connections} connections is reached"
        client.wakeup.drive(self._dismiss(client, 503, message), lambda: None)

    async def _dismiss(self, client: Client, status: int, message: str) -> None:
        """Tell a client that it is one too many, outside of the limit of connections but within another.

        In TCP mode there are no words for it, and the connection is reset.
        """
        hub = self._hub
        in_words = hub.config.mode == "http" and len(self._turned_away) < MOST_TURNED_AWAY
        self._turned_away.add(client)
        hub.deadlines.guard(client)
        try:
            await refuse(hub, client, Refusal(status, "too_many_connections", message, 1), in_words=in_words)
        finally:
            self._turned_away.discard(client)
            client.close()

    def relisten(self, addresses: Sequence[Address]) -> None:
        """Listen on these addresses from now on; who listens on one of them already goes on as it is.

        Raises ListenError, with nothing changed, if one of the others cannot be had.
        """
        parts = [part for address in addresses for part in parts_of(address)]
        kept = [one for one in self._listeners if any(is_at(one.address, part) for part in parts)]
        opened = self._open_missing(addresses)
        for listener in self._listeners:
            if listener not in kept:
                listener.close()
        self._listeners = [*kept, *map(self._listen, opened)]

    def _open_missing(self, addresses: Sequence[Address]) -> list[socket.socket]:
        opened: list[socket.socket] = []
        try:
            for address in addresses:
                opened += open_missing(address, self.addresses)
        except ListenError as error:
            discard(opened)
            for one in self._listeners:
                if isinstance(one.address, TcpAddress) and getattr(address, "port", None) == one.address.port:
                    message = f"cannot listen on {address} beside {one.address}, which this balancer has: a restart can"
                    raise ListenError(message) from error
            raise
        return opened

    def _listen(self, sock: socket.socket) -> Listener:
        return Listener(
            self._hub.loop,
            sock,
            has_room=self._has_room,
            welcome=self._welcome,
            turn_away=self._turn_away,
            is_ours=self._owns_files,
        )

    async def drain(self, timeout_s: float) -> int:
        """Stop accepting, let the sessions finish their requests; returns how many had to be cut off."""
        self._hub.is_draining = True
        for listener in self._listeners:
            listener.close()
        for client in self._clients:
            client.hurry()
        if self._clients:
            self._all_gone.clear()
            try:
                await asyncio.wait_for(self._all_gone.wait(), timeout_s)
            except TimeoutError:
                pass
        return self.cut_off()

    def cut_off(self) -> int:
        """End every session at once; returns how many there were."""
        late = list(self._clients)
        for client in (*late, *self._turned_away):
            client.wakeup.cancel()
        return len(late)
