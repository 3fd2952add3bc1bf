"""What the kernel can prove about a connection that broke: did the backend see any byte of the request?"""

import asyncio
import socket
import struct

import pytest

from ocr_tcp_lb.config import BackendConfig
from ocr_tcp_lb.relay.poller import LoopPoller
from ocr_tcp_lb.relay.readiness import Channel, Wakeup
from ocr_tcp_lb.relay.upstream import BackendConnection, Upstream

FIRST = b"the first exchange"
REPLY = b"its reply"


@pytest.fixture
async def pair():
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    upstream = Upstream(LoopPoller(loop), BackendConfig("b1", "127.0.0.1", 1))
    connection = BackendConnection(upstream, Channel(LoopPoller(loop), near, Wakeup(loop)))
    near.sendall(FIRST)
    assert far.recv(100) == FIRST
    far.sendall(REPLY)
    assert near.recv(100) == REPLY
    connection.count(len(FIRST), len(REPLY))
    yield connection, far
    far.close()
    connection.channel.close()


async def test_bytes_that_met_a_closed_socket_reached_nobody(pair):
    connection, far = pair
    far.close()
    connection.channel.send(b"POST / HTTP/1.1\r\n\r\n")
    assert connection.proves_untouched()
    assert not connection.proves_taken()


async def test_bytes_that_were_received_before_the_reset_prove_nothing(pair):
    connection, far = pair
    connection.channel.send(b"POST / HTTP/1.1\r\n\r\n")
    far.close()  # with unread bytes: a reset
    assert not connection.proves_untouched()


async def test_an_orderly_close_after_reading_proves_nothing(pair):
    connection, far = pair
    connection.channel.send(b"POST / HTTP/1.1\r\n\r\n")
    assert not connection.proves_taken()
    far.recv(100)
    far.close()
    assert not connection.proves_untouched()
    assert connection.proves_taken()


async def test_an_open_connection_proves_nothing(pair):
    connection, _ = pair
    assert not connection.proves_untouched()


async def test_what_nobody_counted_the_kernel_did(pair):
    connection, far = pair
    far.sendall(REPLY)
    assert connection.channel.sock.recv(100) == REPLY
    connection.channel.sock.sendall(FIRST)
    assert far.recv(100) == FIRST
    connection.count(len(FIRST))
    assert connection.bytes_received == 2 * len(REPLY)
    far.close()
    connection.channel.send(b"POST / HTTP/1.1\r\n\r\n")
    assert connection.proves_untouched()


async def test_bytes_that_were_read_but_not_acknowledged_yet_prove_nothing(pair):
    """On a connection that went back and forth, the kernel acknowledges with the reply, or 40 ms later."""
    connection, far = pair
    near = connection.channel.sock
    for _ in range(20):
        near.sendall(FIRST)
        assert far.recv(100) == FIRST
        far.sendall(REPLY)
        assert near.recv(100) == REPLY
        connection.count(len(FIRST), len(REPLY))
    connection.channel.send(b"POST / HTTP/1.1\r\n\r\n")
    assert far.recv(100)
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    assert not connection.proves_untouched()
