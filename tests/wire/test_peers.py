"""What we accept and what we write, as two independent parsers read it: h11 and llhttp (if httptools is there)."""

import h11
import pytest
from hypothesis import given, settings

from ocr_tcp_lb.wire import ProtocolError, RequestParser

from .generated import REQUEST_STARTS, heads
from .samples import HOP, fields, request

httptools = pytest.importorskip("httptools")

PARSER = RequestParser()


class Seen:
    """What llhttp reports of a request."""

    def __init__(self, raw: bytes) -> None:
        self.url, self.headers, self.complete = b"", list[tuple[bytes, bytes]](), False
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(raw)
        self.method, self.version = parser.get_method(), parser.get_http_version()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


def test_both_read_a_forwarded_head_as_we_wrote_it() -> None:
    head = PARSER.parse(request(b"Content-Length: 5", b"A: b: c", b"Via: x"))
    raw = head.forwarded(b"/t?q=%2F", HOP, b"id")
    ours = [(name, value) for name, _, value in (line.partition(b": ") for line in fields(raw))]
    seen = Seen(raw)
    assert (seen.complete, seen.method, seen.url, seen.version) == (True, b"POST", b"/t?q=%2F", "1.1")
    assert seen.headers == ours
    server = h11.Connection(h11.SERVER)
    server.receive_data(raw)
    event = server.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target, event.headers.raw_items()) == (b"POST", b"/t?q=%2F", ours)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(heads(REQUEST_STARTS))
def test_llhttp_accepts_and_reads_alike_what_we_accept(raw: bytes) -> None:
    try:
        head = PARSER.parse(raw)
    except ProtocolError:
        return
    target = head.path + head.query
    for data, sent in ((raw, head.target), (head.forwarded(target, HOP, b"id"), target)):
        try:
            seen = Seen(data)
        except (httptools.HttpParserInvalidMethodError, httptools.HttpParserUpgrade):
            continue  # it knows registered methods only
        assert (seen.complete, seen.method, seen.url) == (True, head.method, sent)
        if data is not raw:
            assert seen.headers == [(n, v) for n, _, v in (line.partition(b": ") for line in fields(data))]
