"""The quick way and the way through h11 agree on every head: the property on which the shape cache rests."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_tcp_lb.wire import ProtocolError, ReplyError, ReplyHead, ReplyParser, RequestError, RequestHead, RequestParser

from .generated import REQUEST_STARTS, STATUS_LINES, heads
from .samples import HOP, TRUSTED


def fields(head: type) -> list[str]:
    """The names of its public attributes; a compiled class has no `__slots__` to tell them."""
    return [name for name in dir(head) if not name.startswith("_") and not callable(getattr(head, name))]


SEEN, SEEN_REPLY = fields(RequestHead), fields(ReplyHead)

WARM, WARM_REPLIES = RequestParser(), ReplyParser()  # shared by all examples, so that they meet a full cache
COLD, COLD_REPLIES = RequestParser(shapes=0), ReplyParser(shapes=0)


def read_request(parser: RequestParser, raw: bytes) -> object:
    try:
        head = parser.parse(raw)
    except RequestError as error:
        return error.status, error.code, error.message
    written = [head.forwarded(b"/t", hop, b"id", expect=expect) for hop in (HOP, TRUSTED) for expect in (False, True)]
    return [getattr(head, name) for name in SEEN], written


def read_reply(parser: ReplyParser, raw: bytes, method: bytes) -> object:
    try:
        head = parser.parse(raw, method)
    except ReplyError as error:
        return error.message
    written = [
        head.forwarded(minor=minor, close=close, extra=extra)
        for minor in (0, 1)
        for close in (False, True)
        for extra in (b"", b"X-Request-Id: i\r\n")
    ]
    return [getattr(head, name) for name in SEEN_REPLY], written


@settings(max_examples=300, derandomize=True, deadline=None)
@given(heads(REQUEST_STARTS))
def test_requests_read_alike_cold_warm_and_every_time_by_h11(raw: bytes) -> None:
    expected = read_request(COLD, raw)
    fresh = RequestParser()
    assert read_request(fresh, raw) == expected
    assert read_request(fresh, raw) == expected
    assert read_request(WARM, raw) == expected


@settings(max_examples=300, derandomize=True, deadline=None)
@given(heads(STATUS_LINES), st.sampled_from([b"GET", b"HEAD"]))
def test_replies_read_alike_cold_warm_and_every_time_by_h11(raw: bytes, method: bytes) -> None:
    expected = read_reply(COLD_REPLIES, raw, method)
    fresh = ReplyParser()
    assert read_reply(fresh, raw, method) == expected
    assert read_reply(fresh, raw, method) == expected
    assert read_reply(WARM_REPLIES, raw, method) == expected


@settings(max_examples=100, derandomize=True, deadline=None)
@given(heads(REQUEST_STARTS))
def test_what_we_forward_is_one_head_that_we_accept_ourselves(raw: bytes) -> None:
    try:
        head = WARM.parse(raw)
    except ProtocolError:
        return
    again = COLD.parse(head.forwarded(head.path + head.query, HOP, b"id"))
    assert (again.method, again.framing, again.content_length) == (head.method, head.framing, head.content_length)
    assert (again.path, again.query, again.request_id) == (head.path, head.query, b"id")
