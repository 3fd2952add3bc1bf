"""The admin listener's sockets: bound like those of clients, or handed over by systemd, and served until closed."""

import asyncio
import socket
from collections.abc import Sequence

from ocr_tcp_lb.config import Address, TcpAddress, UnixAddress, is_local
from ocr_tcp_lb.ops.admin.control import Do
from ocr_tcp_lb.ops.admin.gate import AdminError, Gate
from ocr_tcp_lb.ops.admin.http import READ_BYTES, Http, Places
from ocr_tcp_lb.ops.admin.site import Site
from ocr_tcp_lb.ops.monitor import Monitor
from ocr_tcp_lb.relay.sockets import BACKLOG, ListenError, SocketFile, address_of, open_listeners

_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def bind(address: Address) -> list[socket.socket]:
    """Listen on the address; raises AdminError, which says what to do."""
    try:
        return open_listeners([address])
    except ListenError as error:
        reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
        what_to_do = "choose another --admin, or --admin off"
        raise AdminError(f"cannot listen on {address} for the status page: {reason}; {what_to_do}") from error


def demand_token(sockets: Sequence[socket.socket], token: str) -> None:
    """See that what other machines can reach asks for a token; raises AdminError. Sockets may come from systemd."""
    for address in map(address_of, sockets):
        if not (token or is_local(address)):
            raise AdminError(f"other machines can reach {address}: it needs --admin-token-file FILE")


def page_url(address: Address) -> str:
    """What to type into a browser, as far as one can get there."""
    if isinstance(address, UnixAddress):
        return str(address)
    return f"http://{TcpAddress(_ANY_HOST.get(address.host, address.host), address.port)}/"


class AdminListener:
    """The running listener; `addresses` are where it really is."""

    def __init__(self, monitor: Monitor, token: str = "", do: Do | None = None) -> None:
        self._monitor = monitor
        self._token = token
        self._do = do
        self._places = Places()
        self._servers: list[asyncio.Server] = []
        self._files: list[SocketFile] = []
        self.addresses: list[Address] = []

    async def start(self, sockets: Sequence[socket.socket], *, owns_files: bool = True) -> None:
        """Serve these sockets, which are then ours; `owns_files`: unix sockets' files are removed at the end."""
        for sock in sockets:
            address = address_of(sock)
            http = Http(Site(self._monitor, Gate(address, self._token), self._do).answer, self._places)
            if isinstance(address, UnixAddress):
                self._files += [SocketFile(address.path)] if owns_files else []
                server = await asyncio.start_unix_server(http.welcome, sock=sock, limit=READ_BYTES, backlog=BACKLOG)
            else:
                server = await asyncio.start_server(http.welcome, sock=sock, limit=READ_BYTES, backlog=BACKLOG)
            self.addresses.append(address)
            self._servers.append(server)

    async def close(self) -> None:
        """Stop accepting, end what is open, remove the files."""
        for file in self._files:
            file.remove()  # while the sockets are open, see `SocketFile`
        for server in self._servers:
            server.close()
        await self._places.close()
        for server in self._servers:
            await server.wait_closed()
