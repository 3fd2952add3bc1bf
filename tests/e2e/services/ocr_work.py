"""What every test service does with a request, whatever serves it: note it, take its time, answer.

The answer is JSON about what arrived, or with the field `Echo: 1` the body itself. With a field `Job`, a line
is written to the journal when the work starts and when it ends; each is one `write` to a file opened for
appending, so a killed service leaves no half lines and loses none.
"""

import hashlib
import json
import os
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """One request as a service sees it; `target` is the request line's, byte for byte."""

    method: str
    target: str
    body: bytes
    job: str
    echo: bool
    forwarded_for: str
    files: dict[str, str]  # name of a multipart file -> sha256


class Worker:
    """One service's work, its name and its journal."""

    def __init__(self, name: str, journal: str, seconds: float) -> None:
        self.name = name
        self.seconds = seconds
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if journal else -1

    def answer(self, request: Request) -> tuple[str, bytes]:
        """Return the content type and the content."""
        self._note("start", request.job)
        if self.seconds:
            time.sleep(self.seconds)  # stands for the model
        self._note("end", request.job)
        if request.echo:
            return "application/octet-stream", request.body
        facts = {
            "service": self.name,
            "method": request.method,
            "target": request.target,
            "bytes": len(request.body),
            "sha256": hashlib.sha256(request.body).hexdigest(),
            "forwarded_for": request.forwarded_for,
            "files": request.files,
        }
        return "application/json", json.dumps(facts).encode()

    def _note(self, event: str, job: str) -> None:
        if job and self._journal >= 0:
            os.write(self._journal, f"{event} {job}\n".encode())


def from_environment() -> tuple[Worker, str]:
    """The worker that the environment describes, and the one path that it answers on."""
    get = os.environ.get
    worker = Worker(get("OCR_NAME", "one"), get("OCR_JOURNAL", ""), float(get("OCR_SECONDS", "0")))
    return worker, get("OCR_PATH", "/get_ocr")
