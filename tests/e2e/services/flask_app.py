"""An OCR service in Flask, as its users write them: one path, everything else is 404.

Run as a script it is served by Werkzeug, threaded or not, and prints the port; gunicorn imports `app`.
"""

import hashlib
import os
import socket
import sys

from flask import Flask, Response, request
from ocr_work import Request, from_environment
from werkzeug.serving import make_server

app = Flask(__name__)
worker, path = from_environment()


@app.route(path, methods=["GET", "POST", "PUT"])
def recognize() -> Response:
    """Answer one request."""
    is_form = request.mimetype == "multipart/form-data"
    files = {name: hashlib.sha256(one.read()).hexdigest() for name, one in request.files.items()} if is_form else {}
    content_type, content = worker.answer(
        Request(
            request.method,
            request.environ.get("REQUEST_URI") or request.environ["RAW_URI"],
            b"" if is_form else request.get_data(),
            request.headers.get("Job", ""),
            "Echo" in request.headers,
            request.headers.get("X-Forwarded-For", ""),
            files,
        )
    )
    return Response(content, content_type=content_type)


def main() -> None:
    """Listen on the port given (0: any), which a restarted service takes over by SO_REUSEPORT; say which; serve."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", int(os.environ.get("OCR_PORT", "0"))))
    sock.listen(128)
    threaded = os.environ.get("OCR_THREADED") == "1"
    server = make_server("127.0.0.1", sock.getsockname()[1], app, threaded=threaded, fd=sock.fileno())
    server.log = lambda *args: None  # type: ignore[method-assign]
    print(f"serving on http://127.0.0.1:{sock.getsockname()[1]}", file=sys.stderr, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
