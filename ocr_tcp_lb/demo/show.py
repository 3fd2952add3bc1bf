"""The whole demo: three worker processes, the balancer before them, and a line to paste.

`run` takes the balancer's configuration and returns its exit code; the workers live exactly as long as it
does. What it says goes to standard error, since standard output is the access log's.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

from ocr_tcp_lb import app
from ocr_tcp_lb.config import Address, Config, UnixAddress
from ocr_tcp_lb.demo.crew import Crew
from ocr_tcp_lb.ops.journal import flush_messages, say, set_up_messages

_ANY_HOST = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def run(config: Config) -> int:
    """Start a worker for each backend, serve until told to stop, and end the workers."""
    # The workers' true concurrency is known here: each has one lock.
    config = replace(config, backends=tuple(replace(b, concurrency=1) for b in config.backends))
    set_up_messages(sys.stderr.fileno())
    try:
        with Crew(config.backends, _say) as crew:
            return _serve(config, crew)
    finally:
        flush_messages()


def _serve(config: Config, crew: Crew) -> int:
    _say(f"starting {len(config.backends)} workers")
    recognizer, note = crew.wait_until_ready()

    def invite(addresses: Sequence[Address]) -> None:
        _say(f"text recognition: {recognizer}" + (f"; {note}" if note else ""))
        _say(f"in another terminal, with any PNG or JPEG:\n\n    {curl_line(addresses[0])}\n")
        name, pid = next(iter(crew.pids.items()))
        _say(f"Ctrl-C stops everything; `kill {pid}` only worker {name}, and the others take over")

    return app.run(config, on_ready=invite)


def curl_line(address: Address) -> str:
    """Return the command that posts an image to `address`."""
    upload = "curl -F file=@scan.png"
    if isinstance(address, UnixAddress):
        return f"{upload} --unix-socket {address.path} http://localhost/get_ocr"
    return f"{upload} http://{replace(address, host=_ANY_HOST.get(address.host, address.host))}/get_ocr"


def _say(line: str) -> None:
    say(f"demo: {line}")
