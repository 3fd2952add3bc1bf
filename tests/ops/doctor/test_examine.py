"""What the doctor makes of services, each played by a small server: good ones, and the usual mistakes."""

import asyncio
import math
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import h11
import pytest

from ocr_tcp_lb.config import BackendConfig
from ocr_tcp_lb.ops.doctor import concurrency
from ocr_tcp_lb.ops.doctor.examine import Findings, Sample, examine
from ocr_tcp_lb.settings.configfile import render_backends

SAMPLE = Sample("scan.png", b"\x89PNG\r\n\x1a\nx")


@dataclass
class Asked:
    """A request that a service got."""

    method: str
    path: str
    kind: str


Reply = tuple[int, dict[str, str]]


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
        status, fields = answer(asked)
        lines = [f"HTTP/1.{minor.decode()} {status} X", "Content-Length: 0", *(f"{k}: {v}" for k, v in fields.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def visit(port: int, path: str = "/", sample: Sample | None = None) -> Findings:
    return await examine(BackendConfig("b1", "127.0.0.1", port, path), sample, lambda step: None)


def only(path: str, status: int = 200, **fields: str) -> Callable[[Asked], Reply]:
    return lambda asked: (status if asked.path == path else 404, {k.replace("_", "-"): v for k, v in fields.items()})


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


async def test_sample_is_sent_as_the_service_takes_it_and_its_slots_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Asked] = []

    def answer(asked: Asked) -> Reply:
        seen.append(asked)
        return (200 if asked.method == "GET" or asked.kind.startswith("multipart/") else 400, {})

    async def measure(burst: concurrency.Burst, say: object) -> concurrency.Measured:
        came = await burst(2, 3)
        assert (len(came.ended_s), came.failed) == (3, 0)
        assert list(came.ended_s) == sorted(came.ended_s)
        return concurrency.Measured(3, 3)

    monkeypatch.setattr(concurrency, "measure", measure)
    async with service(answer) as port:
        found = await visit(port, "/ocr", SAMPLE)
    assert any("takes an image as the form's 'file'" in line for line in found.good)
    assert [asked.method for asked in seen[-3:]] == ["POST"] * 3
    assert "concurrency = 3" in render_backends([found.proposal])


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (concurrency.Measured(1, 3), "works on 1 to 3 at once: not clear, so it is left to be learned"),
        (concurrency.Measured(2, math.inf), "works on 2 or more at once: not clear, so it is left to be learned"),
        (concurrency.Measured(0, 0, 1), "the sample failed when it was sent again, so its concurrency was not "
         "measured; see its log"),
    ],
)  # fmt: skip
async def test_concurrency_that_is_not_clear_is_left_out(
    monkeypatch: pytest.MonkeyPatch, measured: concurrency.Measured, said: str
) -> None:
    async def measure(burst: concurrency.Burst, say: object) -> concurrency.Measured:
        return measured

    monkeypatch.setattr(concurrency, "measure", measure)
    async with service(only("/ocr")) as port:
        found = await visit(port, "/ocr", SAMPLE)
    assert found.notes[-1] == said
    assert "concurrency" not in render_backends([found.proposal])


async def test_refusal_of_too_many_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def measure(burst: concurrency.Burst, say: object) -> concurrency.Measured:
        return concurrency.Measured(2, 2, 3)

    monkeypatch.setattr(concurrency, "measure", measure)
    async with service(only("/ocr")) as port:
        found = await visit(port, "/ocr", SAMPLE)
    assert found.notes[-1] == "of 3 at once, some failed; see its log if it should take as many"
    assert "concurrency = 2" in render_backends([found.proposal])


@pytest.mark.parametrize(
    ("measured", "shown", "is_noted"),
    [
        (concurrency.Measured(4, 4), 4, False),
        (concurrency.Measured(2, 2), 2, True),
        (concurrency.Measured(2, math.inf), 4, False),
    ],
)
async def test_what_was_told_stands_unless_it_was_measured_otherwise(
    monkeypatch: pytest.MonkeyPatch, measured: concurrency.Measured, shown: int, is_noted: bool
) -> None:
    async def measure(burst: concurrency.Burst, say: object) -> concurrency.Measured:
        return measured

    monkeypatch.setattr(concurrency, "measure", measure)
    async with service(only("/ocr")) as port:
        told = BackendConfig("gpu", "127.0.0.1", port, "/ocr", weight=2.0, concurrency=4)
        found = await examine(told, SAMPLE, lambda step: None)
    assert found.proposal == BackendConfig("gpu", "127.0.0.1", port, "/ocr", weight=2.0, concurrency=shown)
    assert ("its concurrency is told to be 4; below stands what was measured" in found.notes) == is_noted


async def test_burst_ends_with_its_first_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    posts = 0

    def answer(asked: Asked) -> Reply:
        nonlocal posts
        posts += asked.method == "POST"
        return (503 if posts == 4 else 200, {})

    async def measure(burst: concurrency.Burst, say: object) -> concurrency.Measured:
        came = await burst(1, 9)
        assert (len(came.ended_s), came.failed) == (2, 1)
        return concurrency.Measured(0, 0, 1)

    monkeypatch.setattr(concurrency, "measure", measure)
    async with service(answer) as port:
        await visit(port, "/ocr", SAMPLE)
    assert posts == 4  # the first one found out how it is sent


async def test_sample_that_nobody_takes_is_noted() -> None:
    async with service(lambda asked: (200 if asked.method == "GET" else 415, {})) as port:
        found = await visit(port, "/ocr", SAMPLE)
    assert "the sample was not taken (415 as the body" in found.notes[-1]
    assert found.concurrency == 0


def test_form_is_what_browsers_send() -> None:
    fields, body = SAMPLE.forms()["as the form's 'file'"]
    assert fields["Content-Type"] == "multipart/form-data; boundary=ocr-tcp-lb-doctor"
    assert body.startswith(
        b'--ocr-tcp-lb-doctor\r\nContent-Disposition: form-data; name="file"; filename="scan.png"\r\n'
        b"Content-Type: image/png\r\n\r\n\x89PNG"
    )
    assert body.endswith(b"\r\n--ocr-tcp-lb-doctor--\r\n")
