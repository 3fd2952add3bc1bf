import pytest

from ocr_tcp_lb.wire.authority import confirm_reply, confirm_request
from ocr_tcp_lb.wire.errors import ReplyError, RequestError

from .samples import reply, request


def test_h11_confirms_what_it_reads_alike() -> None:
    confirm_request(request(b"A: b"), [(b"Host", b"a"), (b"A", b"b")])
    confirm_reply(reply(b"A: b"), b"GET", [(b"A", b"b")])
    confirm_reply(reply(start=b"HTTP/1.1 100 Continue"), b"POST", [])
    confirm_reply(
        reply(b"Connection: upgrade", b"Upgrade: x", start=b"HTTP/1.1 101 x"),
        b"GET",
        [(b"Connection", b"upgrade"), (b"Upgrade", b"x")],
    )


@pytest.mark.parametrize("raw", [request(host=b""), request(b"A\x00: b"), request()[:-2], b"\r\n\r\n"])
def test_requests_that_h11_refuses_are_refused(raw: bytes) -> None:
    with pytest.raises(RequestError):
        confirm_request(raw, [])


def test_a_field_that_only_one_of_two_readers_sees_is_refused() -> None:
    with pytest.raises(RequestError):
        confirm_request(request(b"A: b"), [(b"Host", b"a")])
    with pytest.raises(ReplyError):
        confirm_reply(reply(b"A: b"), b"GET", [])


def test_replies_that_h11_refuses_are_refused() -> None:
    with pytest.raises(ReplyError):
        confirm_reply(reply(b"Transfer-Encoding: gzip"), b"GET", [(b"Transfer-Encoding", b"gzip")])
