"""One question, and what comes back as bytes: what the balancer would refuse, early answers, the PROXY header."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ocr_tcp_lb.config import BackendConfig, Limits, ProxyVersion
from ocr_tcp_lb.ops.doctor.probe import Question, Unreachable, ask
from ocr_tcp_lb.wire import proxy_protocol
from ocr_tcp_lb.wire.proxy_protocol import Endpoint, ProxyHeader

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
UNREAD_BYTES = 16_000_000  # more than the kernel takes for those who do not read


@asynccontextmanager
async def saying(reply: bytes) -> AsyncIterator[BackendConfig]:
    """Answer each head so, at once, and close, whatever follows it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, limit=4096) as server:
        yield BackendConfig("b1", *server.sockets[0].getsockname())


@pytest.mark.parametrize(
    ("reply", "is_kept", "version"),
    [
        (OK, True, "1.1"),
        (OK.replace(b"1.1 200 OK", b"1.0 200"), False, "1.0"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, True, "1.1"),
        (OK + b"surplus", False, "1.1"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil it closes", False, "1.1"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True, "1.1"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", True, "1.1"),
    ],
)
async def test_reply_is_read_to_its_end(reply: bytes, is_kept: bool, version: str) -> None:
    async with saying(reply) as backend:
        answer = await ask(Question(backend), 5)
    assert (answer.keeps_alive, answer.version) == (is_kept, version)


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx", "a bare line end"),
        (OK.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n"), "more than one Content-Length"),
        (OK.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"), "both Transfer-Encoding and Content-L"),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding on HTTP/1.0"),
        (OK.replace(b"\r\n\r\n", b"\r\nA: b\r\n c\r\n\r\n"), "folded"),
        (OK.replace(b"\r\n\r\n", b"\r\n" + b"A: b\r\n" * 100 + b"\r\n"), "more than 100 header fields"),
        (OK.replace(b"\r\n\r\n", b"\r\nA: " + b"b" * 16384 + b"\r\n\r\n"), "a head over 16384 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "an invalid chunk size"),
        (b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "which nobody asked for"),
        (b"HTTP/1.1 102 X\r\n\r\n" * 33, "too many interim replies"),
    ],
)
async def test_what_the_balancer_refuses_is_refused(reply: bytes, fault: str) -> None:
    async with saying(reply) as backend:
        with pytest.raises(Unreachable, match="the balancer refuses its replies and answers 502: .*" + fault) as caught:
            await ask(Question(backend), 5)
    assert caught.value.why == "bad_reply"


async def test_head_is_held_to_the_limit_that_was_told() -> None:
    long = OK.replace(b"\r\n\r\n", b"\r\nA: " + b"b" * 16384 + b"\r\n\r\n")
    async with saying(long) as backend:
        assert (await ask(Question(backend, limits=Limits(head_bytes=32768)), 5)).status == 200


@pytest.mark.parametrize("reply", [b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"])
async def test_reply_that_breaks_off_is_none(reply: bytes) -> None:
    async with saying(reply) as backend:
        with pytest.raises(Unreachable, match="in the middle of its reply") as caught:
            await ask(Question(backend), 5)
    assert caught.value.why == "closed"


async def test_answer_that_comes_before_a_body_was_read_is_heard() -> None:
    async with saying(OK.replace(b"200 OK", b"415 No")) as backend:
        assert (await ask(Question(backend, method="POST", body=bytes(UNREAD_BYTES)), 5)).status == 415


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("is_check", [False, True])
async def test_backend_that_is_to_get_a_proxy_header_gets_one(version: ProxyVersion, is_check: bool) -> None:
    """As before a client's request, with both ends; or as before a check, which is nobody's in version 2."""
    got: list[tuple[ProxyHeader | None, bytes, Endpoint, Endpoint]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.readuntil(b"User-Agent: ocr-tcp-lb-doctor\r\n\r\n")
        header = proxy_protocol.read(data)
        ends = (Endpoint(*writer.get_extra_info(name)) for name in ("peername", "sockname"))
        got.append((header, data[header.size if header else 0 :], *ends))
        writer.write(OK)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        backend = BackendConfig("b1", *server.sockets[0].getsockname(), send_proxy=version)
        await ask(Question(backend, "/ocr", is_check=is_check), 5)
    [(header, request, source, destination)] = got
    assert header is not None
    assert (header.source, header.destination) == ((None, None) if is_check and version == 2 else (source, destination))
    assert request.startswith(b"GET /ocr HTTP/1.1\r\n")


def test_request_names_an_ipv6_host_in_brackets() -> None:
    message = Question(BackendConfig("b1", "::1", 80), "/ocr").message
    assert message == b"GET /ocr HTTP/1.1\r\nHost: [::1]:80\r\nUser-Agent: ocr-tcp-lb-doctor\r\n\r\n"
