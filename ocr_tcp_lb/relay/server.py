"""The relay as a whole: listeners, the sessions they start, and how all of it comes to an orderly end."""

import asyncio
import logging
import socket
from collections.abc import Iterable

from ocr_tcp_lb.config import Address
from ocr_tcp_lb.relay.client import LINGER_S, Client
from ocr_tcp_lb.relay.failures import ClientGone
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.listener import Listener
from ocr_tcp_lb.relay.session import Session
from ocr_tcp_lb.relay.tcp import TcpSession
from ocr_tcp_lb.wire.replies import error_reply

log = logging.getLogger(__name__)
MOST_TURNED_AWAY = 256  # clients above the limit that are being answered at one time; more are closed at once


class Server:
    """Owns every task that serves a client."""

    def __init__(self, hub: Hub, sockets: Iterable[socket.socket]) -> None:
        self._hub = hub
        self._sessions: dict[asyncio.Task[None], Client] = {}
        self._turned_away: set[asyncio.Task[None]] = set()
        self._session_type = TcpSession if hub.config.mode == "tcp" else Session
        self._listeners = [
            Listener(hub.loop, sock, has_room=self._has_room, welcome=self._welcome, turn_away=self._turn_away)
            for sock in sockets
        ]

    @property
    def addresses(self) -> list[Address]:
        """Where it listens, with real ports."""
        return [listener.address for listener in self._listeners]

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._sessions)

    def _has_room(self) -> bool:
        return len(self._sessions) < self._hub.limits.connections

    def _welcome(self, sock: socket.socket, address: str) -> None:
        session = self._session_type(self._hub, sock, address)
        task = self._hub.loop.create_task(session.run())
        self._sessions[task] = session.client
        task.add_done_callback(self._sessions.pop)

    def _turn_away(self, sock: socket.socket, address: str) -> None:
        if len(self._turned_away) >= MOST_TURNED_AWAY or self._hub.config.mode == "tcp":
            sock.close()
            return
        task = self._hub.loop.create_task(self._answer_that_full(Client(self._hub, sock, address)))
        self._turned_away.add(task)
        task.add_done_callback(self._turned_away.discard)

    async def _answer_that_full(self, client: Client) -> None:
        hub = self._hub
        hub.deadlines.guard(client)
        client.is_between_requests = False
        message = f"the limit of {hub.limits.connections} connections is reached"
        try:
            client.allow(LINGER_S)
            await client.send_all(
                error_reply(503, "too_many_connections", message, hub.new_request_id(), retry_after_s=1)
            )
            await client.linger()
        except ClientGone:
            pass
        finally:
            client.close()

    async def drain(self, timeout_s: float) -> int:
        """Stop accepting, let the sessions finish their requests; returns how many had to be cut off."""
        self._hub.draining = True
        for listener in self._listeners:
            listener.close()
        for client in self._sessions.values():
            client.hurry()
        if self._sessions:
            await asyncio.wait(set(self._sessions), timeout=timeout_s)
        return await self.cut_off()

    async def cut_off(self) -> int:
        """End every session at once; returns how many there were."""
        late = list(self._sessions)
        for task in (*late, *self._turned_away):
            task.cancel()
        await asyncio.gather(*late, *self._turned_away, return_exceptions=True)
        return len(late)
