import pytest

from ocr_tcp_lb.wire.boundary import head_end, reply_head_end
from ocr_tcp_lb.wire.errors import ReplyError, RequestError

from .samples import reply, request

LIMIT = 1024


def test_the_end_is_found_with_bytes_behind_it() -> None:
    head = request(b"A: b\tc", b"Content-Length: 4")
    assert head_end(head, LIMIT) == len(head)
    assert head_end(bytearray(head + b"body\r\n\r\n"), LIMIT) == len(head)
    assert reply_head_end(reply(b"A: b") + b"x", LIMIT) == len(reply(b"A: b"))


@pytest.mark.parametrize("remembers", [False, True])
def test_a_good_head_is_incomplete_at_every_byte_but_the_last(remembers: bool) -> None:
    for head, find in ((request(b"A: b\tc"), head_end), (reply(b"A: \xe9"), reply_head_end)):
        for size in range(len(head)):
            assert find(head[:size], LIMIT, size - 1 if remembers and size else 0) == 0
        assert find(head, LIMIT, len(head) - 1 if remembers else 0) == len(head)


def drip(data: bytes) -> None:
    for size in range(1, len(data) + 1):
        head_end(data[:size], LIMIT, size - 1)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"PRI * HTTP/2.0\r\n", 505),
        (b"\r\n", 400),
        (b"\n", 400),
        (b" GET / HTTP/1.1", 400),
        (b"\tGET", 400),
        (b"\x00", 400),
        (b"\xffSMB", 400),
        (b"GET /\x00", 400),
        (b"GET / HTTP/1.1\n", 400),
        (b"GET / HTTP/1.1\r\r", 400),
        (b"GET / HTTP/1.1\rH", 400),
        (b"GET /\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost:", 505),
        (b"GET / HTTP/1.1\r\n Host", 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n\tc", 400),
        (b"GET / HTTP/1.1\r\nA: b\x0b", 400),
        (b"GET / HTTP/1.1\r\nA: b\nC", 400),
        (b"GET / HTTP/1.1\r\nA: b\x7f", 400),
        (b"GET /" + b"a" * LIMIT, 414),
        (b"GET /" + b"a" * LIMIT + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * LIMIT, 431),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * LIMIT + b"\r\n\r\n", 431),
    ],
)
@pytest.mark.parametrize("bytewise", [False, True])
def test_hopeless_beginnings_are_refused_before_the_head_is_complete(data: bytes, status: int, bytewise: bool) -> None:
    with pytest.raises(RequestError) as caught:
        drip(data) if bytewise else head_end(data, LIMIT)
    assert caught.value.status == status


def test_tls_is_named() -> None:
    with pytest.raises(RequestError, match="looks like TLS"):
        head_end(b"\x16\x03\x01", LIMIT)


@pytest.mark.parametrize("extra", [0, 1])
def test_the_limit_is_exact(extra: int) -> None:
    head = request(b"A: " + b"a" * 100)
    assert head_end(head, len(head) + extra) == len(head)
    with pytest.raises(RequestError):
        head_end(head, len(head) - 1)
    with pytest.raises(RequestError):
        head_end(head[:-1], len(head) - 1)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH",
        b"<html>",
        b"\r\nHTTP/1.1 200 OK",
        b"HTTP/2.0 200",
        b"HTTP/1.1 200 OK\n",
        b"HTTP/1.1 2 OK\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * LIMIT,
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * LIMIT + b"\r\n\r\n",
    ],
)
def test_hopeless_replies_are_refused(data: bytes) -> None:
    with pytest.raises(ReplyError):
        reply_head_end(data, LIMIT)
