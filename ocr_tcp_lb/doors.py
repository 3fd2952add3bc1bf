"""The listening sockets of a start: bound as configured, or taken over from systemd, before anybody is let in."""

import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from ocr_tcp_lb.config import DEFAULT_ADMIN, Config
from ocr_tcp_lb.ops.admin.gate import AdminError, read_token
from ocr_tcp_lb.ops.admin.listener import bind, demand_token
from ocr_tcp_lb.ops.systemd import passed_sockets
from ocr_tcp_lb.relay.sockets import discard, open_listeners

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Doors:
    """The listening sockets, before anybody is let in, and who is let in to the admin listener."""

    clients: Sequence[socket.socket]
    admin: Sequence[socket.socket]
    token: str
    owns_clients: bool  # else the sockets came from systemd, and their files are its own
    owns_admin: bool

    def close(self) -> None:
        """Close all of them; safe when others did."""
        for sock in (*self.clients, *self.admin):
            sock.close()


def open_doors(config: Config) -> Doors:
    """Bind what is configured, or take what systemd passed; nothing stays open if anything fails."""
    passed = passed_sockets()
    clients: Sequence[socket.socket] = passed.clients
    admin: Sequence[socket.socket] = passed.admin
    try:
        token = read_token(config.admin_token_file) if config.admin_token_file else ""
        clients = clients or open_listeners(config.listen)  # first: who asks for our default admin port may have it
        admin = passed.admin or _open_admin(config)
        demand_token(admin, token)
    except BaseException:
        for sock in (*passed.clients, *admin):
            sock.close()
        if not passed.clients:
            discard(clients)
        raise
    return Doors(clients, admin, token, owns_clients=not passed.clients, owns_admin=not passed.admin)


def _open_admin(config: Config) -> Sequence[socket.socket]:
    """The admin sockets; a second balancer on one machine finds the default port taken and goes without."""
    if config.admin is None:
        return ()
    try:
        return bind(config.admin)
    except AdminError as error:
        if config.admin != DEFAULT_ADMIN:
            raise
        log.warning("%s", error)
        return ()
