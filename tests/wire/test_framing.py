import pytest

from ocr_tcp_lb.wire.errors import ReplyError, RequestError, bad_request
from ocr_tcp_lb.wire.framing import MAX_LENGTH, Framing, read_length, reply_framing, request_framing


@pytest.mark.parametrize(
    ("codings", "lengths", "framed"),
    [
        ([], [], (Framing.NONE, 0)),
        ([], [b"0"], (Framing.LENGTH, 0)),
        ([], [b"42"], (Framing.LENGTH, 42)),
        ([], [b"%d" % MAX_LENGTH], (Framing.LENGTH, MAX_LENGTH)),
        ([b"chunked"], [], (Framing.CHUNKED, 0)),
        ([b"CHUNKED"], [], (Framing.CHUNKED, 0)),
    ],
)
def test_requests_are_framed(codings: list[bytes], lengths: list[bytes], framed: tuple[Framing, int]) -> None:
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
    ("status", "method", "codings", "lengths", "framed"),
    [
        (200, b"GET", [], [], (Framing.UNTIL_CLOSE, 0)),
        (200, b"GET", [], [b"5"], (Framing.LENGTH, 5)),
        (200, b"GET", [b"chunked"], [], (Framing.CHUNKED, 0)),
        (200, b"HEAD", [], [b"5"], (Framing.NONE, 0)),
        (200, b"HEAD", [b"chunked"], [], (Framing.NONE, 0)),
        (204, b"GET", [], [b"5"], (Framing.NONE, 0)),
        (304, b"GET", [], [b"5"], (Framing.NONE, 0)),
        (100, b"POST", [], [], (Framing.NONE, 0)),
        (101, b"GET", [], [], (Framing.NONE, 0)),
    ],
)
def test_replies_are_framed(
    status: int, method: bytes, codings: list[bytes], lengths: list[bytes], framed: tuple[Framing, int]
) -> None:
    assert reply_framing(status, 1, method, codings, lengths) == framed


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
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
def test_faulty_reply_framing_is_refused(minor: int, codings: list[bytes], lengths: list[bytes], method: bytes) -> None:
    with pytest.raises(ReplyError):
        reply_framing(200, minor, method, codings, lengths)
