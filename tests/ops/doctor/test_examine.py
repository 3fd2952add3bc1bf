"""What the doctor makes of services, each played by a small server: good ones, and the usual mistakes."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from ocr_tcp_lb.config import BackendConfig, Config, Limits, Mode
from ocr_tcp_lb.settings.configfile import render_backends
from tests.ops.doctor.house import Asked, Reply, look, only, service, visit


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


def redirecting(where: dict[str, str], status: int = 308) -> Callable[[Asked], Reply]:
    """Redirect some paths, answer `/ocr/` and the index page, and nothing else."""

    def answer(asked: Asked) -> Reply:
        if asked.path in where:
            return status, {"Location": where[asked.path]}
        return (200 if asked.path in ("/", "/ocr/", "/login") else 404), {}

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/ocr/", "ocr/", "http://127.0.0.1:{port}/ocr/"])
async def test_redirect_names_the_path_to_use(status: int, location: str) -> None:
    where: dict[str, str] = {}
    async with service(redirecting(where, status)) as port:
        where["/ocr"] = location.format(port=port)
        found = await visit(port, "/ocr")
    assert found.bad == ["/ocr redirects to /ocr/: name that path"]
    assert found.path == "/ocr/"


@pytest.mark.parametrize(
    "location",
    [
        "/none/",
        "/ocr",
        "https://127.0.0.1:{port}/ocr/",
        "http://127.0.0.2:{port}/ocr/",
        "/login?next=/ocr",
        "//[",
        "/\xfc/",
    ],
)
async def test_redirect_to_what_is_no_path_of_the_service_proposes_nothing(location: str) -> None:
    where: dict[str, str] = {}
    async with service(redirecting(where)) as port:
        where["/ocr"] = told = location.format(port=port)
        found = await visit(port, "/ocr")
    assert found.bad == [f"/ocr redirects to {told}: name the path that takes images"]
    assert found.path == ""


async def test_known_path_is_followed_to_the_one_with_a_slash() -> None:
    async with service(redirecting({"/get_ocr": "/login", "/ocr": "/ocr/"})) as port:
        found = await visit(port)
    assert (found.path, found.bad) == ("/ocr/", [])
    assert found.notes[:2] == [
        "/get_ocr redirects to /login: name the path that takes images",
        "/ocr redirects to /ocr/: name that path",
    ]


async def test_service_that_redirects_everything_is_a_problem() -> None:
    async with service(lambda asked: (302, {"Location": "https://elsewhere/"})) as port:
        found = await visit(port)
    assert found.bad == ["it redirects wherever it is asked: name the path that it serves, as in http://HOST:PORT/path"]


async def test_path_that_was_told_is_asked_first() -> None:
    asked_for: list[str] = []

    def answer(asked: Asked) -> Reply:
        asked_for.append(asked.path)
        return (200, {}) if asked.path == "/my_ocr" else None

    async with service(answer) as port:
        found = await visit(port, "/my_ocr")
    assert (found.path, found.bad) == ("/my_ocr", [])
    assert set(asked_for) == {"/my_ocr"}


@pytest.mark.parametrize(
    ("healthz", "bad"),
    [
        (204, []),
        (404, ["its health path /healthz answers 404: the balancer will not use it"]),
        (302, ["its health path /healthz answers 302: the balancer will not use it"]),
        (
            None,
            [
                "its health path /healthz does not answer (it closed the connection without an answer): "
                "the balancer will not use it"
            ],
        ),
    ],
)
@pytest.mark.parametrize("mode", ["http", "tcp"])
async def test_health_path_must_answer_well(healthz: int | None, bad: list[str], mode: Mode) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.path == "/healthz":
            return None if healthz is None else (healthz, {})
        return 200, {}

    async with service(answer) as port:
        backend = BackendConfig("b1", "127.0.0.1", port, "/ocr", health_path="/healthz")
        found = await look(backend, config=Config(mode=mode))
        unchecked = await look(backend, config=Config(mode=mode, health_interval_s=0))
    assert found.bad == bad
    assert ("its health path /healthz answers 204" in found.good) == (not bad)
    assert unchecked.bad == []


async def test_in_tcp_mode_a_connection_is_enough() -> None:
    async with await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        backend = BackendConfig("b1", "127.0.0.1", port, "/ocr")
        found = await look(backend, config=Config(mode="tcp"))
    assert found.good == [f"reachable at 127.0.0.1:{port}; in TCP mode nothing else is asked"]
    assert (found.bad, found.proposal) == ([], backend)


async def test_in_tcp_mode_nobody_there_is_explained() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        found = await look(BackendConfig("b1", "127.0.0.1", port), config=Config(mode="tcp"))
    assert found.bad == [f"connection refused: nobody listens on 127.0.0.1:{port}. Is the service started?"]
    assert found.path == ""


async def test_head_limit_of_the_configuration_counts() -> None:
    async with service(only("/ocr", X="x" * 20000)) as port:
        backend = BackendConfig("b1", "127.0.0.1", port, "/ocr")
        small = await look(backend)
        large = await look(backend, config=Config(limits=Limits(head_bytes=32768)))
    assert small.bad == [
        f"127.0.0.1:{port}: the balancer refuses its replies and answers 502: the backend sent a head over 16384 bytes"
    ]
    assert large.bad == []


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
        found = await look(BackendConfig("b1", "127.0.0.1", port))
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
