"""A balancer of the relay's tests with the instruments of this room on it, and a plain client for its pages."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from relay.support import PATIENCE_S, Balancer

from ocr_tcp_lb.config import Address, TcpAddress, UnixAddress
from ocr_tcp_lb.ops.admin.listener import AdminListener, bind
from ocr_tcp_lb.ops.intake import AccessLog, Intake
from ocr_tcp_lb.ops.monitor import About, Monitor
from ocr_tcp_lb.ops.tally import Tally

LOCALHOST = TcpAddress("127.0.0.1", 0)


@dataclass(frozen=True)
class Got:
    """A reply of the admin listener; field names in lower case."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Watched:
    """A balancer, its monitor and its admin listener."""

    lb: Balancer
    monitor: Monitor
    listener: AdminListener
    answers: list[Got] = field(default_factory=list)

    @property
    def address(self) -> Address:
        return self.listener.addresses[0]

    async def ask(self, target: str = "/", method: str = "GET", body: bytes = b"", **fields: str) -> Got:
        """One request; `fields` are spelled with underscores."""
        said = {"Host": "127.0.0.1", **{name.replace("_", "-"): value for name, value in fields.items()}}
        if body:
            said["Content-Length"] = str(len(body))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in said.items()), "", ""]
        return parsed(await raw(self.address, "\r\n".join(lines).encode() + body))


async def raw(address: Address, data: bytes) -> bytes:
    """Send bytes, return all that comes back."""
    async with asyncio.timeout(PATIENCE_S):
        if isinstance(address, UnixAddress):
            reader, writer = await asyncio.open_unix_connection(address.path)
        else:
            reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            writer.write(data)
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()


def parsed(data: bytes) -> Got:
    """A whole reply."""
    head, _, body = data.partition(b"\r\n\r\n")
    start, *lines = head.decode().split("\r\n")
    fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Got(int(start.split(" ")[1]), fields, body)


@asynccontextmanager
async def watched(
    lb: Balancer, address: Address = LOCALHOST, token: str = "", access_log: AccessLog | None = None
) -> AsyncIterator[Watched]:
    """Put the instruments on a balancer, and take them off again."""
    intake = Intake(lb.hub.loop, Tally(), access_log)
    collect = lb.records.append

    def take(record: Any) -> None:
        intake.take(record)
        collect(record)

    lb.hub.on_record = take
    about = About("1.2.3", "asyncio", "3.11.2", "http", time.time())
    monitor = Monitor(lb.hub, lb.server, intake, about)
    listener = AdminListener(monitor, token)
    await listener.start(bind(address))
    try:
        yield Watched(lb, monitor, listener)
    finally:
        await listener.close()
        monitor.close()
        intake.close()
