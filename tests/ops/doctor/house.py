"""A small service that is asked by the doctor, and the visit to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import h11

from ocr_tcp_lb.config import BackendConfig, Config
from ocr_tcp_lb.ops.doctor.examine import examine
from ocr_tcp_lb.ops.doctor.findings import Findings
from ocr_tcp_lb.ops.doctor.sample import Sample

SAMPLE = Sample("scan.png", b"\x89PNG\r\n\x1a\nx")


@dataclass
class Asked:
    """A request that a service got."""

    method: str
    path: str
    kind: str


Reply = tuple[int, dict[str, str]] | None  # None: it closes the connection instead


@asynccontextmanager
async def service(answer: Callable[[Asked], Reply], *, minor: bytes = b"1") -> AsyncIterator[int]:
    """Serve on a free port, one request a connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        asked = None
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                kind = dict(event.headers).get(b"content-type", b"").decode()
                asked = Asked(event.method.decode(), event.target.decode(), kind)
            elif isinstance(event, h11.EndOfMessage):
                break
            elif not isinstance(event, h11.Data):
                writer.close()
                return
        assert asked is not None
        reply = answer(asked)
        if reply is None:
            writer.close()
            return
        status, fields = reply
        lines = [f"HTTP/1.{minor.decode()} {status} X", "Content-Length: 0", *(f"{k}: {v}" for k, v in fields.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def visit(port: int, path: str = "/", sample: Sample | None = None) -> Findings:
    return await look(BackendConfig("b1", "127.0.0.1", port, path), sample)


async def look(backend: BackendConfig, sample: Sample | None = None, config: Config | None = None) -> Findings:
    return await examine(backend, config or Config(), sample, lambda step: None)


def only(path: str, status: int = 200, **fields: str) -> Callable[[Asked], Reply]:
    return lambda asked: (status if asked.path == path else 404, {k.replace("_", "-"): v for k, v in fields.items()})
