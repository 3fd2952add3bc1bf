import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_tcp_lb.wire import ChunkedBody, ProtocolError, ReplyError, RequestError
from ocr_tcp_lb.wire.chunked import Side

GOOD = [
    (b"0\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"005\r\nhello\r\n000\r\n\r\n", b"hello"),
    (b"a\r\n0123456789\r\nA\r\n9876543210\r\n0\r\n\r\n", b"01234567899876543210"),
    (b'1;a\r\nx\r\n1;a=b;c="d;\\"\t\xe9"\r\ny\r\n0;z\r\n\r\n', b"xy"),
    (b"2\r\n\r\n\r\n0\r\nX-Sum: 1\r\nEmpty:\r\n\r\n", b"\r\n"),
]

BAD = [
    b"\r\n",
    b"x\r\n",
    b"+5\r\nhello\r\n",
    b"-5\r\nhello\r\n",
    b"0x5\r\nhello\r\n",
    b" 5\r\nhello\r\n",
    b"5 \r\nhello\r\n",
    b"5\t;a\r\nhello\r\n",
    b"5_0\r\n",
    b"5\nhello\r\n",
    b"5\r\r\nhello\r\n",
    b"5;\r\nhello\r\n",
    b"5;=b\r\nhello\r\n",
    b"5;a=\r\nhello\r\n",
    b'5;a="b\r\nhello\r\n',
    b"5;a b\r\nhello\r\n",
    b"5; a\r\nhello\r\n",
    b"5;a\nhello\r\n",
    b"5;a\x00\r\nhello\r\n",
    b"5;" + b"a" * 300 + b"\r\nhello\r\n",
    b"5;" + b"a" * 256 + b"\r\nhello\r\n",
    b"1" * 17 + b"\r\n",
    b"f" * 16 + b"\r\n",
    b"7" + b"f" * 15 + b"\r\n" + b"x" * 10,
    b"5\r\nhelloX\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"5\r\nhello\r0\r\n\r\n",
    b"0\r\n\n",
    b"0\r\nX : 1\r\n\r\n",
    b"0\r\n folded\r\n\r\n",
    b"0\r\nX: 1\n\r\n",
    b"0\r\nX: \x00\r\n\r\n",
    b"0\r\nno colon\r\n\r\n",
    b"0\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
    b"0\r\n" + b"X: a\r\n" * 2000 + b"\r\n",
    b"".join(b"1;" + b"a" * 200 + b"\r\nx\r\n" for _ in range(90)),
]
# The one that is well-formed so far: only its bytes to come could break it.
STILL_GOOD = b"7" + b"f" * 15 + b"\r\n" + b"x" * 10

FRAME_OR_ROUTE = [b"Content-Length", b"content_length", b"Transfer-Encoding", b"Host", b"Connection", b"Trailer", b"TE"]
# In a request these would change what a service decides; in a reply they are no reason to lose it.
DECIDE = [b"Authorization", b"Cookie", b"If-Match", b"X-Forwarded-For", b"Proxy-Any", b"Via", b"Date", b"Set-Cookie"]
DECIDE += [b"Content-" + what for what in (b"Type", b"Encoding", b"Range", b"Location", b"Disposition", b"Language")]
HARMLESS = [b"Content-Digest", b"Repr-Digest", b"X-Sum", b"Server-Timing", b"Content-MD5"]


def run(pieces: list[bytes], side: Side = "client") -> tuple[object, ...]:
    """Feed pieces until the end or an error; say what was found."""
    body, payload, consumed = ChunkedBody(side), b"", 0
    for piece in pieces:
        try:
            step, slices = body.payload(memoryview(piece))
        except ProtocolError as error:
            return "refused", error.message
        payload += b"".join(slices)
        consumed += step
        if body.done:
            break
    return body.done, payload, consumed, body.body_bytes


def three_ways(data: bytes, side: Side = "client") -> tuple[object, ...]:
    whole = run([data], side)
    assert run([data[i : i + 1] for i in range(len(data))], side) == whole
    for cut in range(0, len(data), max(1, len(data) // 20)):
        assert run([data[:cut], data[cut:]], side) == whole
    return whole


def judge_trailer(name: bytes, side: Side) -> object:
    """`refused`, or True."""
    return three_ways(b"0\r\n" + name + b": 1\r\n\r\n", side)[0]


@pytest.mark.parametrize(("data", "payload"), GOOD)
@pytest.mark.parametrize("rest", [b"", b"GET / HTTP/1.1\r\n"])
def test_a_body_ends_right_after_its_last_byte(data: bytes, payload: bytes, rest: bytes) -> None:
    assert three_ways(data + rest) == (True, payload, len(data), len(payload))


@pytest.mark.parametrize("data", [data for data in BAD if data != STILL_GOOD])
def test_bad_chunks_are_refused(data: bytes) -> None:
    assert three_ways(data + b"0\r\n\r\n")[0] == "refused"


def test_a_chunk_of_63_bits_is_only_begun() -> None:
    assert three_ways(STILL_GOOD) == (False, b"x" * 10, len(STILL_GOOD), 10)


@pytest.mark.parametrize("name", [*FRAME_OR_ROUTE, *DECIDE])
def test_trailers_of_a_request_cannot_frame_route_describe_or_authenticate(name: bytes) -> None:
    assert judge_trailer(name, "client") == "refused"


@pytest.mark.parametrize("name", FRAME_OR_ROUTE)
def test_trailers_of_a_reply_cannot_frame_or_route(name: bytes) -> None:
    assert judge_trailer(name, "backend") == "refused"


@pytest.mark.parametrize("name", [*DECIDE, *HARMLESS, b"Vary", b"Retry-After"])
def test_no_other_trailer_costs_a_reply(name: bytes) -> None:
    assert judge_trailer(name, "backend") is True


@pytest.mark.parametrize("name", HARMLESS)
def test_digests_and_the_like_may_follow_a_request(name: bytes) -> None:
    assert judge_trailer(name, "client") is True


def test_each_side_gets_its_own_error() -> None:
    with pytest.raises(RequestError) as client:
        ChunkedBody("client").feed(b"x\r\n")
    assert (client.value.status, client.value.code) == (400, "bad_chunk")
    with pytest.raises(ReplyError, match="the backend sent a bad body: "):
        ChunkedBody("backend").feed(b"x\r\n")


def test_sizes_are_known_before_their_bytes() -> None:
    body = ChunkedBody("client")
    assert body.feed(b"64\r\nabc") == 7
    assert (body.announced_bytes, body.body_bytes, body.done) == (100, 3, False)


def test_a_buffer_is_read_to_the_end_of_the_body() -> None:
    buffer = memoryview(bytearray(b"3\r\nabc\r\n0\r\n\r\ngarbage"))
    body = ChunkedBody("client")
    assert body.feed(buffer[:4]) == 4
    assert body.feed(buffer[4:]) == 9
    assert body.done
    assert body.feed(b"more") == 0


@settings(derandomize=True, deadline=None)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    cuts=st.lists(st.integers(min_value=0, max_value=400), max_size=6),
    rest=st.binary(max_size=8),
)
def test_any_cutting_finds_the_same_body(chunks: list[bytes], cuts: list[int], rest: bytes) -> None:
    data = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    edges = sorted({0, *cuts, len(data + rest)})
    pieces = [(data + rest)[left:right] for left, right in itertools.pairwise(edges)]
    assert run(pieces)[:3] == (True, b"".join(chunks), len(data))


@settings(derandomize=True, deadline=None)
@given(st.text(alphabet='0123aF;= "\\\r\nx:', max_size=60).map(lambda text: text.encode("ascii")))
def test_any_bytes_are_judged_alike_however_they_arrive(data: bytes) -> None:
    three_ways(data)
