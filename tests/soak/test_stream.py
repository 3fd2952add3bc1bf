"""A long stream through L4 mode, both ways, byte-exact; 64 MB in every run, 2 GB with OCR_TCP_LB_SOAK=full -m soak."""

import hashlib
import os
import socket
import threading
import time

import pytest
from e2e.conftest import StartBalancer

MB = 1_000_000
SMALL, LARGE = 64 * MB, 2_000 * MB
PIECES = [os.urandom(MB) for _ in range(7)]


def send(sock: socket.socket, size: int, digests: list[bytes]) -> None:
    """Send `size` bytes that never repeat in step with any buffer, and the end."""
    digest, sent = hashlib.sha256(), 0
    while sent < size:
        piece = memoryview(PIECES[sent // MB % len(PIECES)])[: size - sent]
        sock.sendall(piece)
        digest.update(piece)
        sent += len(piece)
    sock.shutdown(socket.SHUT_WR)
    digests.append(digest.digest())


def receive(sock: socket.socket, digests: list[bytes]) -> None:
    """Read to the end."""
    digest, room = hashlib.sha256(), memoryview(bytearray(MB))
    while received := sock.recv_into(room):
        digest.update(room[:received])
    digests.append(digest.digest())


def accept_mine(client: socket.socket, listener: socket.socket) -> socket.socket:
    """The balancer's connection for this client; it also connects to see whether the backend lives."""
    client.sendall(b"!")
    while True:
        sock = listener.accept()[0]
        if sock.recv(1):
            return sock
        sock.close()


def stream(start_balancer: StartBalancer, loop_name: str, up: int, down: int) -> float:
    """Pass so many bytes each way at once; returns MB/s."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        balancer = start_balancer([url], "--mode", "tcp", "--loop", loop_name)
        with socket.create_connection(("127.0.0.1", balancer.port)) as client, accept_mine(client, listener) as backend:
            sent_up: list[bytes] = []
            sent_down: list[bytes] = []
            got_up: list[bytes] = []
            got_down: list[bytes] = []
            work = [(send, client, up, sent_up), (send, backend, down, sent_down)]
            work += [(receive, backend, got_up), (receive, client, got_down)]  # type: ignore[list-item]
            threads = [threading.Thread(target=one[0], args=one[1:]) for one in work]
            began = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert (sent_up, sent_down) == (got_up, got_down)
    return (up + down) / MB / (time.perf_counter() - began)


def test_stream_arrives_byte_exact_both_ways(start_balancer: StartBalancer, loop_name: str) -> None:
    stream(start_balancer, loop_name, SMALL, SMALL // 3)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_long_stream_arrives_byte_exact(start_balancer: StartBalancer, loop_name: str) -> None:
    size = LARGE if os.environ.get("OCR_TCP_LB_SOAK") == "full" else 4 * SMALL
    rate = stream(start_balancer, loop_name, size, size // 10)
    print(f"\n{loop_name}: {size / MB:.0f} MB up, {size / MB / 10:.0f} MB down, {rate:.0f} MB/s")
