import io
from email.message import Message

import pytest

from ocr_tcp_lb.demo import bodies
from ocr_tcp_lb.demo.bodies import BodyError, read_body


def read(head: str, stream: bytes) -> tuple[bytes, bytes]:
    """Return the body and what is left on the stream."""
    fields = Message()
    for line in head.splitlines():
        name, _, value = line.partition(": ")
        fields[name] = value
    source = io.BytesIO(stream)
    return read_body(fields, source), source.read()


def test_body_ends_where_its_length_says() -> None:
    assert read("Content-Length: 3", b"abcGET") == (b"abc", b"GET")


def test_request_without_framing_fields_has_no_body() -> None:
    assert read("", b"GET") == (b"", b"GET")


def test_chunks_are_joined_and_extensions_and_trailers_skipped() -> None:
    stream = b"3;a=b\r\nabc\r\nA \r\n0123456789\r\n0\r\nX: y\r\n\r\nGET"
    assert read("Transfer-Encoding: chunked", stream) == (b"abc0123456789", b"GET")


@pytest.mark.parametrize(
    ("head", "stream"),
    [
        ("Content-Length: 3", b"ab"),
        ("Content-Length: +3", b"abc"),
        ("Content-Length: x", b"abc"),
        ("Content-Length: 3\nContent-Length: 3", b"abc"),
        ("Content-Length: 3\nTransfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n"),
        ("Transfer-Encoding: gzip", b""),
        ("Transfer-Encoding: chunked", b""),
        ("Transfer-Encoding: chunked", b"-3\r\nabc\r\n"),
        ("Transfer-Encoding: chunked", b"0x3\r\nabc\r\n"),
        ("Transfer-Encoding: chunked", b"3\nabc\n0\n\n"),
        ("Transfer-Encoding: chunked", b"3\r\nabcd\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"3\r\nab"),
        ("Transfer-Encoding: chunked", b"0\r\n" + b"a: b\r\n" * 200),
    ],
)
def test_broken_framing_is_refused(head: str, stream: bytes) -> None:
    with pytest.raises(BodyError) as caught:
        read(head, stream)
    assert caught.value.status == 400


@pytest.mark.parametrize("head", ["Content-Length: 11", "Transfer-Encoding: chunked"])
def test_body_over_the_limit_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch, head: str) -> None:
    monkeypatch.setattr(bodies, "LIMIT_BYTES", 10)
    with pytest.raises(BodyError) as caught:
        read(head, b"6\r\nabcdef\r\n5\r\n")
    assert caught.value.status == 413
