import pytest

from ocr_tcp_lb.wire.errors import ReplyError, RequestError, bad_request
from ocr_tcp_lb.wire.framing import MAX_LENGTH, Framing, read_length, reply_framing, request_framing


@pytest.mark.parametrize(
    ("codings", "lengths", "framed"),
    [
        ([], [], Framing.NONE),
        ([], [b"0"], Framing.LENGTH),
        ([], [b"42"], Framing.LENGTH),
        ([b"chunked"], [], Framing.CHUNKED),
        ([b"CHUNKED"], [], Framing.CHUNKED),
    ],
)
def test_requests_are_framed(codings: list[bytes], lengths: list[bytes], framed: Framing) -> None:
    assert request_framing(1, codings, lengths) == framed


@pytest.mark.parametrize(
    ("minor", "codings", "lengths", "status"),
    [
        (1, [b"chunked"], [b"5"], 400),
        (0, [b"chunked"], [], 400),
        (0, [b"identity"], [b"5"], 400),
        (1, [b"chunked", b"chunked"], [], 400),
        (1, [b"chunked", b"identity"], [], 400),
        (1, [b"chunked, chunked"], [], 400),
        (1, [b"chunked, identity"], [], 400),
        (1, [b"chunked, gzip"], [], 400),
        (1, [b"chunked;q=1"], [], 400),
        (1, [b"chunked,"], [], 400),
        (1, [b",chunked"], [], 400),
        (1, [b""], [], 400),
        (1, [b"chun ked"], [], 400),
        (1, [b'"chunked"'], [], 400),
        (1, [b"xchunked"], [], 501),
        (1, [b"identity"], [], 501),
        (1, [b"gzip"], [], 501),
        (1, [b"gzip, chunked"], [], 501),
        (1, [], [b"5", b"5"], 400),
        (1, [], [b"5", b"6"], 400),
    ],
)
def test_faulty_request_framing_is_refused(minor: int, codings: list[bytes], lengths: list[bytes], status: int) -> None:
    with pytest.raises(RequestError) as caught:
        request_framing(minor, codings, lengths)
    assert caught.value.status == status


@pytest.mark.parametrize("length", [0, 42, MAX_LENGTH])
def test_lengths_are_read(length: int) -> None:
    assert read_length(b"%d" % length, bad_request) == length


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"+5",
        b"-5",
        b" 5",
        b"5 ",
        b"5, 5",
        b"0x5",
        b"5.0",
        b"5_0",
        b"\xb2",
        b"five",
        b"9" * 19,
        b"9" * 30,
        b"0" * 20,
    ],
)
def test_malformed_lengths_are_refused(value: bytes) -> None:
    with pytest.raises(RequestError):
        read_length(value, bad_request)


@pytest.mark.parametrize(
    ("status", "codings", "lengths", "framed"),
    [
        (200, [], [], Framing.UNTIL_CLOSE),
        (200, [], [b"5"], Framing.LENGTH),
        (200, [b"chunked"], [], Framing.CHUNKED),
        (204, [], [b"5"], Framing.NONE),
        (304, [], [b"5"], Framing.NONE),
        (100, [], [], Framing.NONE),
        (101, [], [], Framing.NONE),
    ],
)
def test_replies_are_framed(status: int, codings: list[bytes], lengths: list[bytes], framed: Framing) -> None:
    assert reply_framing(status, 1, codings, lengths) is framed


@pytest.mark.parametrize("status", [200, 304])
@pytest.mark.parametrize(
    ("minor", "codings", "lengths"),
    [
        (1, [b"chunked"], [b"5"]),
        (0, [b"chunked"], []),
        (1, [b"gzip, chunked"], []),
        (1, [b"chunked", b"chunked"], []),
        (1, [], [b"5", b"6"]),
        (1, [], [b"5", b"5"]),
        (1, [], [b"5, 5"]),
    ],
)
def test_faulty_reply_framing_is_refused(minor: int, codings: list[bytes], lengths: list[bytes], status: int) -> None:
    with pytest.raises(ReplyError):
        reply_framing(status, minor, codings, lengths)
