import pytest

from ocr_tcp_lb.wire.errors import ReplyError, RequestError
from ocr_tcp_lb.wire.startline import read_request_line, read_status_line


def test_a_request_line_gives_method_target_and_minor_version() -> None:
    assert read_request_line(b"GET /a?b HTTP/1.0") == (b"GET", b"/a?b", 0)
    assert read_request_line(b"M-X * HTTP/1.1") == (b"M-X", b"*", 1)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /", 400),
        (b"GET", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b" GET / HTTP/1.1", 400),
        (b"GET\t/\tHTTP/1.1", 400),
        (b"G@T / HTTP/1.1", 400),
        (b"G\x00T / HTTP/1.1", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"GET /\x01 HTTP/1.1", 400),
        (b"GET /\x7f HTTP/1.1", 400),
        (b"GET /\xc3\xa9 HTTP/1.1", 400),
        (b"GET /a#b HTTP/1.1", 400),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/1", 400),
        (b"GET / HTTP/1.10", 400),
        (b"GET / HTTP/1,1", 400),
        (b"GET / HTTP/0.9", 505),
        (b"GET / HTTP/1.2", 505),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/3.0", 505),
        (b"PRI * HTTP/2.0", 505),
    ],
)
def test_bad_request_lines_are_refused(line: bytes, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        read_request_line(line)
    assert caught.value.status == status


def test_a_status_line_gives_status_minor_version_and_reason() -> None:
    assert read_status_line(b"HTTP/1.1 404 Not Found") == (404, 1, b"Not Found")
    assert read_status_line(b"HTTP/1.0 200 ") == (200, 0, b"")
    assert read_status_line(b"HTTP/1.1 200") == (200, 1, b"")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"HTTP/1.1",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 x",
        b"HTTP/1.1 600 x",
        b"HTTP/2.0 200 OK",
        b"HTTP/1.2 200 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.1 200OK",
        b"HTTP/1.1 200 \x01",
        b"ICY 200 OK",
    ],
)
def test_bad_status_lines_are_refused(line: bytes) -> None:
    with pytest.raises(ReplyError):
        read_status_line(line)
