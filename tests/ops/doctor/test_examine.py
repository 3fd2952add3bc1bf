"""What the doctor makes of services, each played by a small server: good ones, and the usual mistakes."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from ocr_tcp_lb.config import BackendConfig
from ocr_tcp_lb.ops.doctor.examine import examine
from ocr_tcp_lb.settings.configfile import render_backends
from tests.ops.doctor.house import Asked, Reply, only, service, visit


async def test_path_that_answers_is_found() -> None:
    async with service(only("/get_ocr")) as port:
        found = await visit(port)
    assert (found.path, found.bad) == ("/get_ocr", [])
    assert found.good[0] == f"reachable at 127.0.0.1:{port}"
    assert render_backends([found.proposal]) == f'[[backend]]\nurl = "http://127.0.0.1:{port}/get_ocr"\nname = "b1"'


async def test_wrong_path_is_told_with_the_right_one() -> None:
    async with service(only("/get_ocr_api")) as port:
        found = await visit(port, "/get_orc")
    assert found.bad == ["404 on /get_orc, but /get_ocr_api answers: correct the URL"]
    assert found.path == "/get_ocr_api"


async def test_no_path_that_answers_is_a_problem() -> None:
    async with service(lambda asked: (404, {})) as port:
        found = await visit(port)
    assert found.path == ""
    assert "404 on /get_ocr_api" in found.bad[0]


async def test_405_means_that_the_path_is_there() -> None:
    async with service(only("/ocr", 405)) as port:
        found = await visit(port, "/ocr")
    assert "/ocr is there (405 to GET: it takes POST)" in found.good
    assert found.bad == []


async def test_redirect_names_the_path_to_use() -> None:
    async with service(lambda asked: (308, {"Location": "/ocr/"}) if asked.path == "/ocr" else (404, {})) as port:
        found = await visit(port, "/ocr")
    assert found.notes[0] == "/ocr redirects to /ocr/: name that path"


@pytest.mark.parametrize(("status", "said"), [(401, "credentials"), (500, "answers 500")])
async def test_odd_answers_are_noted(status: int, said: str) -> None:
    async with service(only("/ocr", status)) as port:
        found = await visit(port, "/ocr")
    assert said in found.notes[0]


async def test_server_that_closes_is_noted() -> None:
    async with service(only("/"), minor=b"0") as port:
        found = await visit(port)
    assert any(line.startswith("HTTP/1.0, closes after each reply") for line in found.good)
    assert any("keep-alive" in line for line in found.notes)


async def test_flask_in_debug_mode_is_a_problem() -> None:
    def answer(asked: Asked) -> Reply:
        fields = {"Server": "Werkzeug/3.0 Python/3.11"}
        return (200, fields | {"Content-Type": "text/css"}) if "__debugger__" in asked.path else (200, fields)

    async with service(answer) as port:
        found = await visit(port, "/ocr")
    assert "debug=True" in found.bad[0]
    assert any("development server" in line for line in found.notes)


async def test_flask_without_debug_mode_is_only_noted() -> None:
    async with service(only("/ocr", 200, Server="Werkzeug/3.0")) as port:
        found = await visit(port, "/ocr")
    assert found.bad == []


async def test_nobody_there_is_explained() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        found = await visit(port)
    assert found.bad == [f"connection refused: nobody listens on 127.0.0.1:{port}. Is the service started?"]


async def test_service_on_another_interface_is_found() -> None:
    async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.3", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await examine(BackendConfig("b1", "127.0.0.1", port), None, lambda step: None)
    assert f"but on 127.0.0.3:{port}: name that address" in found.bad[0]


async def test_tls_server_that_says_nothing_is_recognized() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(Path(__file__).parent / "test.pem")
    async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context) as server:
        found = await visit(server.sockets[0].getsockname()[1])
    assert "speaks https" in found.bad[0]


@pytest.mark.parametrize(
    ("said", "meaning"),
    [(b"\x15\x03\x03\x00\x02\x02\x16", "https"), (b"SSH-2.0-OpenSSH_9.2\r\n", "not HTTP"), (b"", "closed")],
)
async def test_other_protocols_are_recognized(said: bytes, meaning: str) -> None:
    """The first is the alert of a TLS server that is spoken to in plain text."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(4) == b"GET ":  # nothing to say to a TLS client
            writer.write(said)
        writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        found = await visit(server.sockets[0].getsockname()[1])
    assert meaning in found.bad[0]
