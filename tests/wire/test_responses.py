import pytest

from ocr_tcp_lb.wire import Framing, ReplyError, ReplyHead, ReplyParser

from .samples import reply


def parsed(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK", method: bytes = b"GET") -> ReplyHead:
    """Parse twice: the second time comes from the cache."""
    parser = ReplyParser()
    parser.parse(reply(*lines, start=start), method)
    return parser.parse(reply(*lines, start=start), method)


@pytest.mark.parametrize(
    ("lines", "start"),
    [
        ([b"Content-Length: 5", b"Transfer-Encoding: chunked"], b""),
        ([b"Content-Length: 5", b"Content-Length: 6"], b""),
        ([b"Content-Length: 5x"], b""),
        ([b"Transfer-Encoding: gzip"], b""),
        ([b"Transfer-Encoding: chunked"], b"HTTP/1.0 200 OK"),
        ([b"A: b\nC: d"], b""),
        ([b"A: b\rC: d"], b""),
        ([b"A : b"], b""),
        ([b"A: b", b" c"], b""),
        ([b"A: \x00"], b""),
        ([b"nonsense"], b""),
        ([], b"HTTP/1.1 2x0 OK"),
        ([], b"HTTP/1.1 999 OK"),
        ([], b"HTTP/2.0 200 OK"),
        ([b"Upgrade: x"], b"HTTP/1.1 101 Switching"),
        ([b"Connection: upgrade"], b"HTTP/1.1 101 Switching"),
        ([b"Connection: upgrade", b"Upgrade:"], b"HTTP/1.1 101 Switching"),
        ([b"Connection: upgrade", b"Upgrade: ,", b"Upgrade: ,"], b"HTTP/1.1 101 Switching"),
        ([b"Connection: upgrade", b"Upgrade: x"], b"HTTP/1.0 101 Switching"),
        ([b"A: b"] * 101, b""),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_hostile_replies_are_refused_cold_and_warm(lines: list[bytes], start: bytes, method: bytes) -> None:
    raw = reply(*lines, start=start or b"HTTP/1.1 200 OK")
    parser = ReplyParser()
    for _ in range(2):
        with pytest.raises(ReplyError):
            parser.parse(raw, method)
        parser.parse(reply(b"Content-Length: 5"), method)
        parser.parse(reply(b"A: b"), method)


@pytest.mark.parametrize(
    ("start", "lines", "method", "framing", "length"),
    [
        (b"HTTP/1.1 200 OK", [b"Content-Length: 5"], b"GET", Framing.LENGTH, 5),
        (b"HTTP/1.1 200 OK", [b"Content-Length: 5"], b"HEAD", Framing.NONE, 0),
        (b"HTTP/1.1 304 Not Modified", [b"Content-Length: 5"], b"GET", Framing.NONE, 0),
        (b"HTTP/1.1 204 No Content", [], b"GET", Framing.NONE, 0),
        (b"HTTP/1.1 100 Continue", [], b"POST", Framing.NONE, 0),
        (b"HTTP/1.1 200 OK", [b"Transfer-Encoding: Chunked"], b"GET", Framing.CHUNKED, 0),
        (b"HTTP/1.1 200", [], b"GET", Framing.UNTIL_CLOSE, 0),
    ],
)
def test_the_body_is_framed(start: bytes, lines: list[bytes], method: bytes, framing: Framing, length: int) -> None:
    head = parsed(*lines, start=start, method=method)
    assert (head.framing, head.content_length) == (framing, length)


@pytest.mark.parametrize(
    ("start", "lines", "method", "persists"),
    [
        (b"HTTP/1.1 200 OK", [b"Content-Length: 5"], b"GET", True),
        (b"HTTP/1.1 200 OK", [b"Content-Length: 5", b"Connection: close"], b"GET", False),
        (b"HTTP/1.1 200 OK", [b"Content-Length: 5", b"Connection: keep-alive, timeout=5"], b"GET", True),
        (b"HTTP/1.1 200 OK", [b"Content-Length: 5", b"Connection: timeout=5, close"], b"GET", False),
        (b"HTTP/1.1 200 OK", [], b"GET", False),
        (b"HTTP/1.1 200 OK", [], b"HEAD", True),
        (b"HTTP/1.0 200 OK", [b"Content-Length: 5"], b"GET", False),
        (b"HTTP/1.0 200 OK", [b"Content-Length: 5", b"Connection: keep-alive"], b"GET", True),
        (b"HTTP/1.1 101 Go", [b"Connection: upgrade", b"Upgrade: x"], b"GET", False),
    ],
)
def test_the_connection_is_reusable_or_not(start: bytes, lines: list[bytes], method: bytes, persists: bool) -> None:
    assert parsed(*lines, start=start, method=method).keep_alive is persists


def test_one_shape_serves_both_methods() -> None:
    parser = ReplyParser()
    raw = reply(b"Content-Length: 5")
    assert [parser.parse(raw, m).framing for m in (b"HEAD", b"GET", b"HEAD")] == [
        Framing.NONE,
        Framing.LENGTH,
        Framing.NONE,
    ]


@pytest.mark.parametrize(
    ("lines", "is_dated"),
    [([], False), ([b"dATE: x"], True), ([b"Date: x", b"Connection: date"], False), ([b"X-Date: x"], False)],
)
def test_a_reply_tells_whether_a_date_is_passed_on(lines: list[bytes], is_dated: bool) -> None:
    head = parsed(b"Content-Length: 0", *lines)
    assert head.is_dated is is_dated
    assert (b"\r\ndate: " in head.forwarded(minor=1, close=False).lower()) is is_dated


def test_a_reply_prints_what_matters() -> None:
    assert repr(parsed(b"Content-Length: 5")) == "<ReplyHead 200 length 5>"


def test_a_colon_in_the_reason_is_no_field() -> None:
    head = parsed(b"Content-Length: 0", start=b"HTTP/1.1 400 Bad: x")
    assert head.forwarded(minor=1, close=False).startswith(b"HTTP/1.1 400 Bad: x\r\nContent-Length: 0\r\n")
