"""One demo worker: an HTTP service on one path of one port that works on one image at a time.

    python -m ocr_tcp_lb.demo.worker --port 5000 --path /get_ocr_api

It says that it is ready with one line of JSON on standard output, and ends with the exit code `PORT_TAKEN`
if it cannot have its port. With `--until-stdin-ends` it lives no longer than whoever holds the other end of
its standard input, however that one ends.
"""

import argparse
import errno
import hashlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, cast
from urllib.parse import urlsplit

from ocr_tcp_lb.demo.bodies import BodyError, declared_length, read_body
from ocr_tcp_lb.demo.images import describe
from ocr_tcp_lb.demo.recognize import HeaderReader, Recognizer, UnreadableImage, best_recognizer
from ocr_tcp_lb.demo.uploads import UploadError, image_of

PORT_TAKEN = 3
_LINGER_S = 2.0  # how long the rest of a refused body is thrown away, so that the refusal arrives


class Worker(ThreadingHTTPServer):
    """The service: a thread a connection, and one lock, since a model serves one image at a time."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name: str, port: int, path: str, recognizer: Recognizer) -> None:
        """Bind and listen on loopback; raise OSError if the port is taken."""
        self.name = name
        self.path = path
        self.recognizer = recognizer
        self._model = threading.Lock()
        super().__init__(("127.0.0.1", port), Handler)

    @property
    def port(self) -> int:
        """The port really bound."""
        return int(self.server_address[1])

    def server_bind(self) -> None:
        """Bind without HTTPServer's reverse look-up of the address, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.name, self.port

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let clients leave in peace; anything else is a mistake of ours and shows its traceback."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def work(self, image: bytes) -> dict[str, Any]:
        """Return the reply for one image, after those that came before it."""
        with self._model:
            started = time.perf_counter()
            found = self.recognizer.read(image)
            worked_ms = round(1000 * (time.perf_counter() - started), 1)
        about = describe(image)
        return {
            "worker": self.name,
            "recognizer": self.recognizer.name,
            **found,
            "type": about.type,
            "width": about.width,
            "height": about.height,
            "bytes": len(image),
            "sha256": hashlib.sha256(image).hexdigest(),
            "worked_ms": worked_ms,
        }


class Handler(BaseHTTPRequestHandler):
    """One connection to a worker."""

    protocol_version = "HTTP/1.1"
    timeout = 60  # an idle or stalled connection, in seconds
    disable_nagle_algorithm = True

    @property
    def worker(self) -> Worker:
        """The server, under its own type."""
        return cast(Worker, self.server)

    def do_GET(self) -> None:
        """Say how to use the service."""
        if self._reads_body() is not None and self._is_found():
            usage = f"POST a PNG or JPEG to {self.worker.path} as the body, as a form file, or as JSON"
            self._reply(HTTPStatus.OK, {"worker": self.worker.name, "usage": usage})

    def do_POST(self) -> None:
        """Work on the image in the body."""
        body = self._reads_body()
        if body is None or not self._is_found():
            return
        try:
            image = image_of(self.headers.get("Content-Type", ""), body)
            self._reply(HTTPStatus.OK, self.worker.work(image))
        except (UploadError, UnreadableImage) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))

    def handle_expect_100(self) -> bool:
        """Refuse a body by its head where that is possible (RFC 9110 section 10.1.1)."""
        try:
            declared_length(self.headers)
        except BodyError as error:
            self._refuse(error.status, str(error), close=True)
            return False
        return super().handle_expect_100()

    def _reads_body(self) -> bytes | None:
        """Return the body; None if it was refused and answered."""
        try:
            return read_body(self.headers, cast(Any, self.rfile))
        except BodyError as error:
            self._refuse(error.status, str(error), close=True)
            self._linger()
            return None

    def _is_found(self) -> bool:
        if urlsplit(self.path).path == self.worker.path:
            return True
        self._refuse(HTTPStatus.NOT_FOUND, f"this worker answers on {self.worker.path} only")
        return False

    def _linger(self) -> None:
        """Close our side, then read on: a close with bytes unread resets the reply away (RFC 9112 9.6)."""
        deadline = time.monotonic() + _LINGER_S
        try:
            self.connection.settimeout(_LINGER_S)
            self.connection.shutdown(socket.SHUT_WR)
            while time.monotonic() < deadline and self.connection.recv(65536):
                pass
        except OSError:
            pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the standard library refuses, in JSON too."""
        self._refuse(code, message or HTTPStatus(code).phrase, close=True)

    def _refuse(self, status: int, message: str, *, close: bool = False) -> None:
        code = HTTPStatus(status).name.lower()
        self._reply(status, {"error": {"code": code, "message": message}}, close=close)

    def _reply(self, status: int, document: dict[str, Any], *, close: bool = False) -> None:
        # One line a field: good to read in a terminal, and the boxes of recognized lines stay short.
        pairs = (f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in document.items())
        body = "{{\n{}\n}}\n".format(",\n".join(pairs)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if close:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Return the Server field's value."""
        return "ocr-tcp-lb-demo"

    def log_message(self, format: str, *args: Any) -> None:
        """Leave the log to the balancer."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m ocr_tcp_lb.demo.worker", description="One demo worker.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/get_ocr")
    parser.add_argument("--name", default="worker")
    parser.add_argument("--threads", type=int, default=1, help="for the recognition of one image")
    parser.add_argument("--headers-only", action="store_true", help="recognize nothing, even if it is possible")
    parser.add_argument("--until-stdin-ends", action="store_true")
    args = parser.parse_args(argv)
    if args.until_stdin_ends:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    recognizer, note = (HeaderReader(), "") if args.headers_only else best_recognizer(args.threads)
    try:
        worker = Worker(args.name, args.port, args.path, recognizer)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        if not args.until_stdin_ends:  # else its owner says so, and what to do
            print(f"port {args.port} is taken; choose another --port", file=sys.stderr)
        return PORT_TAKEN
    ready = {"port": worker.port, "path": worker.path, "recognizer": recognizer.name, "note": note}
    print(json.dumps(ready), flush=True)
    with worker:
        worker.serve_forever()
    return 0


def _end_with_stdin() -> None:
    """End the process at once when standard input ends; the kernel ends it with its last holder."""
    while os.read(0, 4096):  # not sys.stdin, whose lock this thread would hold when the interpreter ends
        pass
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main())
