"""The accept loop: takes who waits, survives running out of descriptors, turns away clients above the limit."""

import asyncio
import logging
import math
import socket
import sys
from collections.abc import Callable

from ocr_tcp_lb.config import UNIX_CLIENT, UnixAddress, plain_address
from ocr_tcp_lb.relay.pacing import unpace
from ocr_tcp_lb.relay.readiness import OUT_OF_DESCRIPTORS
from ocr_tcp_lb.relay.sockets import BACKLOG, SocketFile, address_of

log = logging.getLogger(__name__)

ACCEPTS_A_TURN = 64  # then other sockets have their turn
REST_S = 0.1  # after running out: connections end meanwhile (trio rests as long)
TOLD_EVERY_S = 10.0  # that it has run out; it comes and goes with each connection


class Listener:
    """Accepts clients on one listening socket and hands each, non-blocking, to `welcome` or to `turn_away`.

    `has_room` is asked before each welcome. The listener owns its socket; `is_ours` says that nobody else has it, too.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        *,
        has_room: Callable[[], bool],
        welcome: Callable[[socket.socket, str], object],
        turn_away: Callable[[socket.socket, str], object],
        is_ours: bool = True,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._has_room = has_room
        self._welcome = welcome
        self._turn_away = turn_away
        self._is_ours = is_ours
        self._rest: asyncio.TimerHandle | None = None
        self._told_at = -math.inf  # that it has run out, on the loop's clock
        self.address = address_of(sock)  # also when it is closed
        self._file = SocketFile(self.address.path) if is_ours and isinstance(self.address, UnixAddress) else None
        loop.add_reader(sock.fileno(), self._accept)

    def _accept(self, most: int = ACCEPTS_A_TURN) -> None:
        for _ in range(most):
            try:
                sock, name = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in OUT_OF_DESCRIPTORS:
                    raise
                self._take_a_rest(error)
                return
            sock.setblocking(False)
            address = _printable(name)
            unpace(sock, address)
            if self._has_room():
                self._welcome(sock, address)
            else:
                self._turn_away(sock, address)

    def _take_a_rest(self, error: OSError) -> None:
        """The backlog keeps new clients meanwhile; without a rest the loop would spin."""
        now = self._loop.time()
        if now - self._told_at >= TOLD_EVERY_S:
            self._told_at = now
            log.warning("cannot accept on %s: %s; clients wait until others leave", self.address, error.strerror)
        self._loop.remove_reader(self._sock.fileno())
        self._rest = self._loop.call_later(REST_S, self._resume)

    def _resume(self) -> None:
        self._rest = None
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def close(self) -> None:
        """Stop accepting; the file of a unix socket that we opened is removed.

        Whoever stands in the backlog is accepted first: closing would reset them. A socket of systemd's stays open,
        and its backlog is for the next process.
        """
        if self._sock.fileno() < 0:
            return
        if self._is_ours and self._rest is None:
            try:
                self._accept(BACKLOG)
            except OSError as error:
                log.warning("cannot accept on %s: %s", self.address, error.strerror)
        if self._rest is not None:
            self._rest.cancel()
        else:
            self._loop.remove_reader(self._sock.fileno())
        if self._file is not None:
            self._file.remove()
        self._sock.close()


def _printable(name: object) -> str:
    """The client's address for the log and X-Forwarded-For, once for all connections; unix clients have none."""
    return sys.intern(plain_address(name[0])) if isinstance(name, tuple) else UNIX_CLIENT
