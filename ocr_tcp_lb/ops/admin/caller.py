"""The other end of the admin listener: tell a running balancer what to do, or ask it how it is."""

import http.client
import json
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ocr_tcp_lb.config import KIB, MIB, Address, UnixAddress
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.ops.admin.control import WORDS_PATH
from ocr_tcp_lb.ops.admin.gate import read_token
from ocr_tcp_lb.ops.printing import harmless

PATIENCE_S = 10.0  # for all of an exchange
READ_BYTES = 64 * KIB
MOST_BYTES = 16 * MIB  # of an answer; ten minutes of history and 1,000 backends are 0.5 MB


class CallError(LoadBalancerError):
    """There is no balancer to talk to, or it did not do what it was told."""


def call(address: Address | None, token_file: str, words: Sequence[str]) -> str:
    """Send the words to the admin listener at `address`; returns its answer, raises CallError."""
    answer = _exchange(address, token_file, "POST", WORDS_PATH, json.dumps({"words": list(words)}))
    if "done" not in answer:
        raise _somebody_else(address)
    return str(answer["done"])


def fetch_status(address: Address | None, token_file: str, after: int = 0) -> dict[str, Any]:
    """Return what `/status.json` says, with the history after number `after`; raises CallError."""
    answer = _exchange(address, token_file, "GET", f"/status.json?after={after}")
    if not ("version" in answer and "backends" in answer):
        raise _somebody_else(address)
    return answer


def _somebody_else(address: Address | None) -> CallError:
    return CallError(f"{address} is not the admin address of a balancer")


def _exchange(address: Address | None, token_file: str, method: str, path: str, body: str = "") -> dict[str, Any]:
    """One request; returns the JSON object of a good answer, raises CallError for any other."""
    if address is None:
        raise CallError("--admin off: there is nobody to talk to")
    fields = {"Content-Type": "application/json", "Host": "localhost"}
    if token_file:
        fields["Authorization"] = f"Bearer {read_token(token_file)}"
    connection = http.client.HTTPConnection("localhost", timeout=PATIENCE_S)
    alarm: threading.Timer | None = None
    try:
        connection.sock = _connect(address)
        alarm = threading.Timer(PATIENCE_S, _hang_up, [connection.sock])
        alarm.start()
        connection.request(method, path, body or None, fields)
        reply = connection.getresponse()
        answer = _harmless(json.loads(_read(reply)))
    except OSError as error:
        raise CallError(f"cannot reach a balancer at {address}: {error.strerror or error}; name its --admin") from error
    except (http.client.HTTPException, ValueError, RecursionError) as error:
        raise _somebody_else(address) from error
    finally:
        if alarm is not None:
            alarm.cancel()
        connection.close()
    if not isinstance(answer, dict):
        raise _somebody_else(address)
    if reply.status == http.HTTPStatus.UNAUTHORIZED:
        right = f"the one in {token_file} is not it" if token_file else "add --admin-token-file FILE"
        raise CallError(f"the balancer at {address} asks for its token; {right}")
    if reply.status != http.HTTPStatus.OK:
        refusal = answer.get("error")
        if isinstance(refusal, dict) and "message" in refusal:
            raise CallError(str(refusal["message"]))
        raise _somebody_else(address)
    return answer


def _harmless(value: Any) -> Any:
    """The same with texts that can be shown: nobody knows who is at an address."""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, list):
        return [_harmless(one) for one in value]
    if isinstance(value, dict):
        return {harmless(name): _harmless(one) for name, one in value.items()}
    return value


def _hang_up(sock: socket.socket) -> None:
    """The other end takes too long: whoever reads sees an end."""
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _read(reply: http.client.HTTPResponse) -> bytes:
    """All of it; raises ValueError: it is too much."""
    pieces: list[bytes] = []
    size = 0
    while piece := reply.read1(READ_BYTES):
        pieces.append(piece)
        size += len(piece)
        if size > MOST_BYTES:
            raise ValueError("it is too much")
    return b"".join(pieces)


def _connect(address: Address) -> socket.socket:
    if isinstance(address, UnixAddress):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(PATIENCE_S)
            sock.connect(address.path)
        except OSError:
            sock.close()
            raise
        return sock
    return socket.create_connection((address.host or "localhost", address.port), PATIENCE_S)
