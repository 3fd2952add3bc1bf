"""Who the client is when a proxy stands before us: the PROXY protocol header, read from trusted proxies."""

import socket

from ocr_tcp_lb.relay.buffers import scratch_view
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.failures import ClientGone
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.talk import wait_readable
from ocr_tcp_lb.wire import proxy_protocol
from ocr_tcp_lb.wire.errors import RequestError
from ocr_tcp_lb.wire.proxy_protocol import Endpoint, ProxyHeader

READ_BYTES = 4096


def must_introduce(hub: Hub, address: str) -> bool:
    """Whether connections from this address begin with a PROXY header; such a header is never guessed at."""
    return hub.config.proxy_protocol and hub.config.trusted_proxies.trusts(address)


async def read_introduction(hub: Hub, client: Client) -> None:
    """Read the header and let the client be who it says; what follows it goes to the client's inbox.

    Raises RequestError (400, or 408 after the head time-out), ClientGone.
    """
    client.allow(hub.timeouts.head_s)
    data = b""
    while (header := proxy_protocol.read(data)) is None:
        if not await wait_readable(client):
            raise RequestError(408, "head_timeout", "the PROXY header did not arrive in time")
        try:
            received = client.channel.receive_into(scratch_view[:READ_BYTES])
        except OSError as error:
            raise ClientGone(str(error)) from error
        if received == 0:
            raise ClientGone("closed before a PROXY header")
        data += bytes(scratch_view[: received or 0])
    client.inbox = data[header.size :]
    _adopt(hub, client, header)


def _adopt(hub: Hub, client: Client, header: ProxyHeader) -> None:
    if header.source is None:  # the proxy's own check, or a transport without addresses: the socket's own count
        return
    client.introduce(
        header.source, header.destination, trusted=hub.config.trusted_proxies.trusts(header.source.address)
    )


def header_for(client: Client, version: proxy_protocol.Version | None) -> bytes:
    """The header that introduces the client to a backend; nothing for one that asks for none."""
    if version is None:
        return b""
    source, destination = client.endpoints()
    return proxy_protocol.write(version, source, destination)


def header_for_check(sock: socket.socket, version: proxy_protocol.Version | None) -> bytes:
    """The header before a question of our own; version 2 has a word for that, LOCAL.

    Version 1 tells of this very connection, for gunicorn takes no UNKNOWN.
    """
    if version is None:
        return b""
    ends = (sock.getsockname(), sock.getpeername()) if version == 1 else ()
    source, destination = (Endpoint(*end[:2]) for end in ends) if ends else (None, None)
    return proxy_protocol.write(version, source, destination)
