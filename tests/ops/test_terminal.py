"""The table for the terminal."""

import io
import json
import os
import pty
import re
import subprocess
import sys
from typing import Any

import pytest

from ocr_tcp_lb.ops.terminal import UnknownStatus, draw, watch

BACKEND = {
    "name": "b1", "state": "up", "is_draining": False, "is_silent": False, "tunnels": 0, "in_flight": 2, "limit": 4,
    "service_ms": 231.4, "p95_ms": 1234.5, "requests": 12345, "errors": 3, "url": "http://127.0.0.1:5000/get_ocr",
    "trial_in_s": None,
}  # fmt: skip
STATUS: dict[str, Any] = {
    "version": "1.2.3", "mode": "http", "policy": "queue", "loop": "uvloop", "listen": ["0.0.0.0:4999"],
    "is_ready": True, "is_draining": False, "up_s": 93784.0, "in_flight": 2, "waiting": 3, "queue_size": 48,
    "connections": 12, "connections_limit": 4096, "buffer_bytes": 3 * 2**20, "buffer_limit_bytes": 2**28,
    "requests": 12345, "errors": 3, "retries": 1, "duration_ms": {"p50": 231.0, "p95": 1200.0, "p99": None},
    "history": [{"requests_per_s": 4.5}], "recent_errors": [], "backends": [BACKEND],
}  # fmt: skip


def test_one_look_tells_everything() -> None:
    assert draw(STATUS).splitlines() == [
        "ocr-tcp-lb 1.2.3  ready  up 1 d 2 h  http, policy queue, uvloop loop, on 0.0.0.0:4999",
        "now       2 at work  3/48 waiting  12/4096 clients  3.0/256 MiB held",
        "requests  12,345  4.5/s  3 errors (0.024 %)  1 retries  p50 231 ms  p95 1.2 s  p99 -",
        "",
        "backend  state  slots       mean     p95  requests  errors  address",
        "b1       up     ■■□□ 2/4  231 ms  1.23 s    12,345       3  http://127.0.0.1:5000/get_ocr",
    ]


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"state": "ejected", "trial_in_s": 3.4}, "ejected, trial in 3 s"),
        ({"is_draining": True}, " draining "),
        ({"is_silent": True}, " silent "),
        ({"is_draining": True, "state": "trial"}, " draining, trial "),
        ({"limit": None}, " 2/auto "),
        ({"limit": 100}, " 2/100 "),
        ({"service_ms": 0}, "  -  "),
    ],
)
def test_backend_is_shown_as_it_is(change: dict[str, Any], shown: str) -> None:
    assert shown in draw({**STATUS, "backends": [{**BACKEND, **change}]})


@pytest.mark.parametrize(
    "change",
    [
        {"backends": [{"name": "b1"}]},
        {"backends": {"b1": 1}},
        {"up_s": "x"},
        {"up_s": None},
        {"buffer_bytes": 10**400},
        {"duration_ms": []},
        {"recent_errors": [{}]},
        {"history": [[]]},
    ],
)
def test_status_of_another_version_is_told_as_such(change: dict[str, Any]) -> None:
    with pytest.raises(UnknownStatus):
        draw({**STATUS, **change})


@pytest.mark.parametrize(
    ("change", "shown"),
    [({"is_ready": False}, "no backend in service"), ({"is_draining": True}, "draining"), ({"up_s": 5}, "up 5 s")],
)
def test_balancer_is_shown_as_it_is(change: dict[str, Any], shown: str) -> None:
    assert shown in draw({**STATUS, **change}).splitlines()[0]


def test_many_requests_a_second_have_no_exponent() -> None:
    text = draw({**STATUS, "history": [{"requests_per_s": 1234.0}], "requests": 1, "errors": 1})
    assert "1,230/s  1 errors (100 %)" in text


def test_latest_errors_are_listed() -> None:
    error = {"at": "2026-01-02T03:04:05.678Z", "status": 502, "backend": "b1", "ending": "backend_broke",
             "method": "POST", "target": "/get_ocr", "request_id": "abc"}  # fmt: skip
    text = draw({**STATUS, "recent_errors": [error] * 9})
    assert text.count("03:04:05  502  b1        backend_broke     POST /get_ocr  abc") == 5


def test_colour_changes_nothing_but_colour() -> None:
    assert re.sub(r"\x1b\[\d+m", "", draw(STATUS, coloured=True)) == draw(STATUS)


def test_watching_without_a_terminal_clears_no_screen() -> None:
    out, answers = io.StringIO(), iter([STATUS, STATUS])
    with pytest.raises(StopIteration):
        watch(lambda: next(answers), out, rest_s=0)
    assert out.getvalue().count("ocr-tcp-lb 1.2.3") == 2
    assert "\x1b" not in out.getvalue()


def test_watching_ends_with_its_reader() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as out:
        watch(lambda: STATUS, out, rest_s=0)


def test_terminal_is_drawn_over_in_colour() -> None:
    """In a real one: a pseudo-terminal."""
    script = (
        "import sys, json; from ocr_tcp_lb.ops.terminal import watch; status = json.loads(sys.argv[1]); left = [1, 1]\n"
        "def fetch():\n    left.pop()\n    return status\n"
        "try:\n    watch(fetch, rest_s=0)\nexcept IndexError:\n    pass"
    )
    leader, follower = pty.openpty()
    argv = [sys.executable, "-c", script, json.dumps(STATUS)]
    with subprocess.Popen(argv, stdout=follower) as process:
        os.close(follower)
        said = b""
        try:
            while piece := os.read(leader, 4096):
                said += piece
        except OSError:
            pass  # how Linux says that the other end of a terminal has closed
        os.close(leader)
        assert process.wait(timeout=20) == 0
    assert said.count(b"\x1b[H\x1b[J") == 2
    assert b"\x1b[32mready\x1b[0m" in said
