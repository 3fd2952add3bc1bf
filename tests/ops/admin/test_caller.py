"""Words on their way from the command line to a running balancer and back."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from ocr_tcp_lb.config import TcpAddress, UnixAddress
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.ops.admin import caller
from ocr_tcp_lb.ops.admin.caller import MOST_BYTES, READ_BYTES, CallError, call
from ocr_tcp_lb.ops.admin.control import WORDS_PATH, Control
from ocr_tcp_lb.ops.admin.http import Request


def do(words: Sequence[str]) -> str:
    if words == ["fail"]:
        raise LoadBalancerError("there is no such thing")
    return " ".join(words)


def post(body: bytes) -> tuple[int, dict[str, object]]:
    hub = SimpleNamespace(drain=None, undrain=None)
    reply = Control(hub, do).answer(Request("POST", WORDS_PATH, body=body))  # type: ignore[arg-type]
    return reply.status, json.loads(reply.body)


def test_words_are_followed() -> None:
    assert post(b'{"words": ["drain", "b1"]}') == (200, {"done": "drain b1"})


def test_what_cannot_be_done_is_said() -> None:
    status, answer = post(b'{"words": ["fail"]}')
    assert (status, answer) == (422, {"error": {"code": "not_done", "message": "there is no such thing"}})


@pytest.mark.parametrize(
    "body", [b"", b"drain b1", b"[]", b"{}", b'{"words": [1]}', b'{"words": 1}', b"\xff", b"[" * 60_000]
)
def test_anything_else_is_a_bad_request(body: bytes) -> None:
    assert post(body)[0] == 400


class Listener:
    """An admin address that gives one answer and keeps what it was asked."""

    def __init__(self, answer: bytes) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.address = TcpAddress("127.0.0.1", self.sock.getsockname()[1])
        self.heard = b""
        self._thread = threading.Thread(target=self._serve, args=(answer,))
        self._thread.start()

    def _serve(self, answer: bytes) -> None:
        client, _ = self.sock.accept()
        with client:
            while b"]}" not in self.heard:
                self.heard += client.recv(4096)
            with contextlib.suppress(ConnectionError):
                client.sendall(answer)

    def close(self) -> None:
        self._thread.join()
        self.sock.close()


def answered(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def test_answer_is_returned_and_the_token_sent(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("0123456789abcdef")
    token_file.chmod(0o600)
    listener = Listener(answered(b'{"done": "well"}'))
    assert call(listener.address, str(token_file), ["drain", "b1"]) == "well"
    listener.close()
    assert b"Authorization: Bearer 0123456789abcdef\r\n" in listener.heard
    assert listener.heard.endswith(b'{"words": ["drain", "b1"]}')


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (answered(b'{"error": {"message": "no backend"}}', b"422 Unprocessable Content"), "no backend"),
        (answered(b"<html>"), "not the admin address"),
        (answered(b'{"ok": true}'), "not the admin address"),
        (answered(b'{"error": "not found"}', b"404 Not Found"), "not the admin address"),
        (answered(b"[" * 100_000), "not the admin address"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * (MOST_BYTES + READ_BYTES), "not the admin address"),
        (b"SSH-2.0\r\n\r\n", "not the admin address"),
    ],
)
def test_refusals_are_errors(answer: bytes, message: str) -> None:
    listener = Listener(answer)
    with pytest.raises(CallError, match=message):
        call(listener.address, "", ["drain", "b1"])
    listener.close()


def test_nothing_that_is_said_fools_the_terminal() -> None:
    listener = Listener(answered(b'{"done": "\\u001b[2J\\ud800\\nb1"}'))
    assert call(listener.address, "", ["drain", "b1"]) == "\\x1b[2J\\ud800\nb1"
    listener.close()
    listener = Listener(answered(b'{"error": {"message": "\\u001b[2J"}}', b"422 No"))
    with pytest.raises(CallError, match=r"^\\x1b\[2J$"):
        call(listener.address, "", ["drain", "b1"])
    listener.close()


def test_balancer_that_asks_for_a_token_is_told_with_the_option(tmp_path: Path) -> None:
    refusal = answered(b'{"error": {"message": "send the token of --admin-token-file"}}', b"401 Unauthorized")
    listener = Listener(refusal)
    with pytest.raises(CallError, match=r"asks for its token; add --admin-token-file FILE$"):
        call(listener.address, "", ["drain", "b1"])
    listener.close()
    token_file = tmp_path / "token"
    token_file.write_text("0123456789abcdef")
    token_file.chmod(0o600)
    listener = Listener(refusal)
    with pytest.raises(CallError, match=rf"asks for its token; the one in {token_file} is not it$"):
        call(listener.address, str(token_file), ["drain", "b1"])
    listener.close()


def test_nobody_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CallError, match="cannot reach a balancer"):
        call(UnixAddress(str(tmp_path / "none")), "", ["reload"])
    with pytest.raises(CallError, match="nobody to talk to"):
        call(None, "", ["reload"])


def test_who_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "PATIENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as sock:

        def drip() -> None:
            client, _ = sock.accept()
            with client, contextlib.suppress(OSError):
                client.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while True:
                    client.sendall(b"x")
                    time.sleep(0.01)

        dripping = threading.Thread(target=drip)
        dripping.start()
        with pytest.raises(CallError):
            call(TcpAddress("127.0.0.1", sock.getsockname()[1]), "", ["reload"])
        dripping.join()
