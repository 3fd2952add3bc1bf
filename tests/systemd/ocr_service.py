"""A slow HTTP service of the standard library alone: `ocr_service.py PORT PATH`.

POST answers with the SHA-256 of the body after the seconds of `Work`; GET gives so many bytes as `Size` says.
"""

import hashlib
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    path_served = "/"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(float(self.headers.get("Work", "0.02")))
        answer = {"port": self.server.server_address[1], "sha256": hashlib.sha256(body).hexdigest()}
        self._answer(json.dumps(answer).encode())

    def do_GET(self) -> None:
        self._answer(b"x" * int(self.headers.get("Size", "2")))

    def _answer(self, body: bytes) -> None:
        self.send_response(200 if self.path == self.path_served else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    Service.path_served = sys.argv[2]
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Service).serve_forever()
