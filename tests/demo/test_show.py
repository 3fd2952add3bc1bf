import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import urllib.request

import pytest

from bench.ports import free_port
from ocr_tcp_lb.config import Address, TcpAddress, UnixAddress
from ocr_tcp_lb.demo.show import curl_line

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480) + b"\x08\x02\0\0\0"


@pytest.mark.parametrize(
    ("address", "target"),
    [
        (TcpAddress("", 4999), "http://127.0.0.1:4999/get_ocr"),
        (TcpAddress("0.0.0.0", 4999), "http://127.0.0.1:4999/get_ocr"),
        (TcpAddress("::", 4999), "http://[::1]:4999/get_ocr"),
        (TcpAddress("localhost", 80), "http://localhost:80/get_ocr"),
        (UnixAddress("/run/lb.sock"), "--unix-socket /run/lb.sock http://localhost/get_ocr"),
    ],
)
def test_line_to_paste_reaches_the_balancer(address: Address, target: str) -> None:
    assert curl_line(address) == f"curl -F file=@scan.png {target}"


def demo(first_port: int) -> subprocess.Popen[str]:
    options = [
        "--listen",
        "127.0.0.1:0",
        "--workers-from",
        str(first_port),
        "--access-log",
        "off",
        "--admin",
        "127.0.0.1:0",
    ]
    argv = [sys.executable, "-m", "ocr_tcp_lb", "demo", *options]
    return subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)


def test_demo_serves_the_pasted_line_and_ends_with_its_workers() -> None:
    first = free_port(in_a_row=3)
    with demo(first) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "Ctrl-C stops everything" in line:
                break
        url = re.search(r"curl -F file=@scan.png (http://\S+)", said)
        assert url, said
        with urllib.request.urlopen(url[1], data=PNG, timeout=30) as reply:
            answer = json.load(reply)
        victim = re.search(r"`kill (\d+)` only worker b1", said)
        assert victim, said
        os.kill(int(victim[1]), signal.SIGTERM)
        assert any("worker b1 (port" in line for line in process.stderr)
        with urllib.request.urlopen(url[1], data=PNG, timeout=30) as reply:
            assert json.load(reply)["bytes"] == len(PNG), "the others take over"
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(timeout=30) == 0, rest
    assert (answer["type"], answer["bytes"]) == ("png", len(PNG))
    assert "Traceback" not in rest
    for port in range(first, first + 3):
        socket.create_server(("127.0.0.1", port)).close()


def test_taken_worker_port_ends_the_demo_with_a_clear_message() -> None:
    first = free_port(in_a_row=3)
    with socket.create_server(("127.0.0.1", first + 1)), demo(first) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(timeout=60) == 2
    assert f"ocr-tcp-lb: port {first + 1}, which worker b2 needs, is taken" in said
    assert said.count("taken") == 1
    assert "Traceback" not in said
