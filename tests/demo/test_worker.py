import hashlib
import http.client
import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ocr_tcp_lb.demo.recognize import UnreadableImage
from ocr_tcp_lb.demo.worker import PORT_TAKEN, Worker

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480) + b"\x08\x02\0\0\0"


class Reader:
    """Recognizes at once, and notes how many images it was given at the same time."""

    name = "fake"

    def __init__(self) -> None:
        self.at_once = 0
        self.most_at_once = 0

    def read(self, image: bytes) -> dict[str, Any]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if image == b"bad":
            self.at_once -= 1
            raise UnreadableImage("this is neither PNG nor JPEG")
        self.at_once -= 1
        return {"text": "INVOICE", "lines": []}


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker("b1", 0, "/get_ocr", Reader()) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(worker: Worker) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", worker.port, timeout=10)
    yield connection
    connection.close()


def ask(client: http.client.HTTPConnection, *args: Any, **kwargs: Any) -> tuple[int, dict[str, Any]]:
    client.request(*args, **kwargs)
    with client.getresponse() as reply:
        assert reply.getheader("Content-Type") == "application/json"
        return reply.status, json.loads(reply.read())


def test_reply_tells_what_was_received(client: http.client.HTTPConnection) -> None:
    status, reply = ask(client, "POST", "/get_ocr?lang=en", PNG)
    assert status == 200
    assert reply.pop("worked_ms") >= 0
    assert reply == {
        "worker": "b1",
        "recognizer": "fake",
        "text": "INVOICE",
        "lines": [],
        "type": "png",
        "width": 640,
        "height": 480,
        "bytes": len(PNG),
        "sha256": hashlib.sha256(PNG).hexdigest(),
    }


def test_one_connection_serves_many_requests_also_refused_ones(client: http.client.HTTPConnection) -> None:
    assert ask(client, "POST", "/get_ocr", PNG)[0] == 200
    assert ask(client, "POST", "/other", PNG)[0] == 404
    assert ask(client, "POST", "/get_ocr", b"")[0] == 400
    assert ask(client, "POST", "/get_ocr", b"bad")[0] == 400
    first = client.sock
    assert ask(client, "POST", "/get_ocr", iter([PNG[:5], PNG[5:]]))[1]["bytes"] == len(PNG)  # chunked
    assert client.sock is first


def test_get_says_how_to_use_the_service(client: http.client.HTTPConnection) -> None:
    status, reply = ask(client, "GET", "/get_ocr")
    assert status == 200
    assert "POST a PNG or JPEG to /get_ocr" in reply["usage"]
    assert ask(client, "GET", "/")[0] == 404


def test_other_methods_are_refused_in_json(client: http.client.HTTPConnection) -> None:
    assert ask(client, "DELETE", "/get_ocr") == (
        501,
        {"error": {"code": "not_implemented", "message": "Unsupported method ('DELETE')"}},
    )


def exchange(worker: Worker, sent: bytes) -> bytes:
    """Return all that the worker answers to `sent`, until it closes."""
    with socket.create_connection(("127.0.0.1", worker.port), timeout=10) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_body_over_the_limit_is_refused_and_the_refusal_arrives(worker: Worker) -> None:
    head = b"POST /get_ocr HTTP/1.1\r\nHost: a\r\nContent-Length: 70000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", worker.port), timeout=10) as connection:
        connection.sendall(head + bytes(1_000_000))
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_expectation_of_too_large_a_body_is_refused_at_once(worker: Worker) -> None:
    head = b"POST /get_ocr HTTP/1.1\r\nHost: a\r\nContent-Length: 70000000\r\nExpect: 100-continue\r\n\r\n"
    assert exchange(worker, head).startswith(b"HTTP/1.1 413")


def test_expectation_is_met_before_the_body(worker: Worker) -> None:
    head = (
        b"POST /get_ocr HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", worker.port), timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_broken_framing_closes_the_connection(worker: Worker) -> None:
    head = b"POST /get_ocr HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", worker.port), timeout=10) as connection:
        connection.sendall(head + b"x\r\n")
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"Connection: close" in answer


def test_client_that_leaves_early_disturbs_nobody(
    worker: Worker, client: http.client.HTTPConnection, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", worker.port), timeout=10) as connection:
        connection.sendall(b"POST /get_ocr HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    assert ask(client, "POST", "/get_ocr", PNG)[0] == 200
    assert capsys.readouterr().err == ""


def test_images_are_worked_on_one_at_a_time(worker: Worker) -> None:
    threads = [threading.Thread(target=worker.work, args=(PNG,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert isinstance(worker.recognizer, Reader)
    assert worker.recognizer.most_at_once == 1


def program(port: int, *more: str) -> list[str]:
    options = ["--port", str(port), "--path", "/x", "--headers-only", *more]
    return [sys.executable, "-m", "ocr_tcp_lb.demo.worker", *options]


def test_taken_port_is_told_by_the_exit_code() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(program(port), capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (PORT_TAKEN, "")
    assert f"port {port} is taken" in done.stderr


def test_program_says_when_it_is_ready_and_ends_with_its_standard_input() -> None:
    argv = program(0, "--until-stdin-ends")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        ready = json.loads(process.stdout.readline())
        assert ready["recognizer"] == "none (demo worker)"
        with socket.create_connection(("127.0.0.1", ready["port"]), timeout=10):
            pass
        process.stdin.close()
        assert process.wait(timeout=30) == 0
