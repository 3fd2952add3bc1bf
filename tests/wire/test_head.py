import pytest

from ocr_tcp_lb.wire import Hop, ReplyHead, ReplyParser, RequestHead, RequestParser

from .samples import HOP, TRUSTED, fields, reply, request

OURS = [b"X-Forwarded-For: 192.0.2.7", b"X-Forwarded-Proto: http", b"X-Forwarded-Host: a", b"X-Request-Id: id"]


def parse(*lines: bytes, start: bytes = b"POST /x HTTP/1.1", host: bytes = b"Host: a") -> RequestHead:
    return RequestParser().parse(request(*lines, start=start, host=host))


def sent(*lines: bytes, hop: Hop = HOP, expect: bool = False, start: bytes = b"POST /x HTTP/1.1") -> list[bytes]:
    return fields(parse(*lines, start=start).forwarded(b"/t", hop, b"id", expect=expect))


def parse_reply(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK", method: bytes = b"GET") -> ReplyHead:
    return ReplyParser().parse(reply(*lines, start=start), method)


def test_end_to_end_fields_keep_order_spelling_and_number() -> None:
    lines = [b"x-B: 1", b"Cookie: a=%41", b"X-b: 2", b"Content-Length: 5", b"Trailer: Z", b"P%d: %b"]
    assert sent(*lines) == [b"Host: a", *lines, b"Via: 1.1 ocr_tcp_lb", *OURS]


def test_the_start_line_is_ours() -> None:
    head = parse(b"A: b", start=b"GET /x?y HTTP/1.0").forwarded(b"/t?%25y", HOP, b"id")
    assert head.startswith(b"GET /t?%25y HTTP/1.1\r\nHost: a\r\nA: b\r\nVia: 1.0 ocr_tcp_lb\r\n")


def test_hop_by_hop_fields_end_here() -> None:
    lines = [b"Connection: close, X-Mine, Host, Content-Length, Via", b"Keep-Alive: timeout=5", b"TE: trailers"]
    lines += [b"X-Mine: 1", b"Proxy-Connection: close", b"Upgrade: x", b"Proxy-Authorization: y", b"Content-Length: 5"]
    assert sent(*lines) == [b"Host: a", b"Content-Length: 5", b"Via: 1.1 ocr_tcp_lb", *OURS]


def test_transfer_encoding_survives_in_one_spelling() -> None:
    assert b"Transfer-Encoding: chunked" in sent(b"transfer-encoding: CHUNKED", b"Connection: transfer-encoding")


def test_underscored_doubles_of_our_fields_are_dropped() -> None:
    dropped = [b"Content_Length: 5", b"X_Forwarded_For: 1", b"X_Request_Id: 2", b"Transfer_Encoding: chunked"]
    assert sent(*dropped, b"My_Own: 1") == [b"Host: a", b"My_Own: 1", b"Via: 1.1 ocr_tcp_lb", *OURS]


def test_claims_of_an_untrusted_client_are_replaced() -> None:
    claims = [b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: evil"]
    assert sent(*claims, b"Forwarded: for=1", b"X-Forwarded-Port: 1") == [b"Host: a", b"Via: 1.1 ocr_tcp_lb", *OURS]


def test_claims_of_a_trusted_proxy_are_kept_and_extended() -> None:
    claims = [b"x-forwarded-for: 1.1.1.1", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: site"]
    assert sent(*claims, hop=TRUSTED) == [
        b"Host: a",
        b"x-forwarded-for: 1.1.1.1, 192.0.2.7",
        *claims[1:],
        b"Via: 1.1 ocr_tcp_lb",
        b"X-Request-Id: id",
    ]


def test_underscored_doubles_of_a_trusted_proxys_claims_are_dropped() -> None:
    claims = [b"X_Forwarded_For: 6.6.6.6", b"x-forwarded_port: 1", b"X-Forwarded-Port: 2"]
    got = sent(*claims, hop=TRUSTED)
    assert got == [b"Host: a", claims[2], b"Via: 1.1 ocr_tcp_lb", *OURS]


def test_connection_cannot_name_the_path_away() -> None:
    lines = [b"X-Forwarded-For: 1", b"X-Forwarded-Proto: https", b"X-Forwarded-Host: site", b"Via: 1.0 a"]
    names = b", ".join(line.partition(b":")[0] for line in lines)
    got = sent(b"Connection: " + names, *lines, hop=TRUSTED)
    assert got[1:5] == [lines[0] + b", 192.0.2.7", *lines[1:3], b"Via: 1.0 a, 1.1 ocr_tcp_lb"]


def test_lists_are_extended_in_their_last_line() -> None:
    lines = [b"Via: 1.0 a", b"X-Forwarded-For: 1", b"Via: 1.1 b", b"X-Forwarded-For: 2"]
    got = sent(*lines, hop=TRUSTED)
    assert got[1:5] == [*lines[:2], b"Via: 1.1 b, 1.1 ocr_tcp_lb", b"X-Forwarded-For: 2, 192.0.2.7"]


@pytest.mark.parametrize("method", [b"OPTIONS", b"TRACE"])
def test_this_hop_is_counted(method: bytes) -> None:
    parser = RequestParser()
    for given, left in ((b"10", b"9"), (b"1", b"0"), (b"007", b"6"), (b"10", b"9")):
        head = parser.parse(request(b"max-Forwards: " + given, start=method + b" / HTTP/1.1"))
        assert b"\r\nmax-Forwards: %b\r\n" % left in head.forwarded(b"/t", HOP, b"id")


def test_hops_of_other_methods_are_not_counted() -> None:
    for value in (b"5", b"0", b"x"):
        assert b"Max-Forwards: " + value in sent(b"Max-Forwards: " + value)


def test_an_expectation_is_passed_on_only_if_asked() -> None:
    lines = [b"Content-Length: 5", b"Expect: 100-Continue"]
    assert not [line for line in sent(*lines) if line.startswith(b"Expect")]
    assert sent(*lines, expect=True).count(b"Expect: 100-continue") == 1


def test_an_upgrade_is_asked_of_the_backend() -> None:
    got = sent(
        b"Connection: keep-alive, Upgrade", b"Upgrade: web%socket", b"Sec-WebSocket-Key: x", start=b"GET / HTTP/1.1"
    )
    assert {b"Connection: Upgrade", b"Upgrade: web%socket", b"Sec-WebSocket-Key: x"} <= set(got)


def test_a_request_with_a_body_asks_for_no_upgrade() -> None:
    got = sent(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 5")
    assert not [line for line in got if line.startswith((b"Connection", b"Upgrade"))]


def test_http_1_0_without_host_gets_one() -> None:
    head = parse(start=b"GET / HTTP/1.0", host=b"").forwarded(b"/t", HOP, b"id")
    assert fields(head)[0] == b"Host: front:4999"
    assert b"X-Forwarded-Host: front:4999" in fields(head)


def test_a_head_can_be_forwarded_again() -> None:
    head = parse(b"A: b")
    first = head.forwarded(b"/t", HOP, b"id")
    assert head.forwarded(b"/other", HOP, b"id") == first.replace(b"/t ", b"/other ")
    assert head.forwarded(b"/t", HOP, b"id") == first


def test_a_reply_keeps_its_end_to_end_fields() -> None:
    lines = [b"Set-Cookie: a", b"Date: now", b"Set-Cookie: b%d", b"Content-Length: 5"]
    hop = [
        b"Connection: keep-alive, X-Hop",
        b"Keep-Alive: timeout=5",
        b"X-Hop: 1",
        b"Proxy-Connection: x",
        b"Proxy-Authenticate: Basic",
        b"Upgrade: h2",
    ]
    assert fields(parse_reply(*lines, *hop).forwarded(minor=1, close=False)) == lines


@pytest.mark.parametrize(
    ("minor", "close", "connection"),
    [
        (1, False, []),
        (1, True, [b"Connection: close"]),
        (0, False, [b"Connection: keep-alive"]),
        (0, True, [b"Connection: close"]),
    ],
)
def test_a_reply_tells_the_client_about_its_own_connection(minor: int, close: bool, connection: list[bytes]) -> None:
    head = parse_reply(b"Content-Length: 0", b"Connection: close").forwarded(minor=minor, close=close)
    assert fields(head) == [b"Content-Length: 0", *connection]


def test_a_reply_is_always_http_1_1_and_has_its_reason() -> None:
    assert (
        parse_reply(start=b"HTTP/1.0 200 50% off")
        .forwarded(minor=0, close=True)
        .startswith(b"HTTP/1.1 200 50% off\r\n")
    )
    assert parse_reply(start=b"HTTP/1.1 200").forwarded(minor=1, close=True).startswith(b"HTTP/1.1 200 \r\n")


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK", b"HTTP/1.1 304 Not Modified"])
def test_http_1_0_is_told_of_no_coding_and_no_trailer(start: bytes, method: bytes) -> None:
    head = parse_reply(b"transfer-encoding: Chunked", b"Trailer: X", start=start, method=method)
    assert fields(head.forwarded(minor=1, close=False)) == [b"Transfer-Encoding: chunked", b"Trailer: X"]
    assert fields(head.forwarded(minor=0, close=True)) == [b"Connection: close"]


def test_extra_fields_replace_the_backends_request_id_only() -> None:
    head = parse_reply(b"X-Request-ID: theirs", b"Content-Length: 0")
    timing, own = b"Server-Timing: q;dur=1\r\n", b"X-Request-Id: ours%d\r\n"
    assert fields(head.forwarded(minor=1, close=False, extra=timing)) == [
        b"X-Request-ID: theirs",
        b"Content-Length: 0",
        timing.strip(),
    ]
    assert fields(head.forwarded(minor=1, close=False, extra=own)) == [b"Content-Length: 0", own.strip()]


def test_a_101_keeps_its_upgrade() -> None:
    lines = [b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Accept: x"]
    head = parse_reply(*lines, start=b"HTTP/1.1 101 Switching Protocols")
    assert head.upgrade == b"websocket"
    assert fields(head.forwarded(minor=1, close=True)) == [lines[2], b"Connection: Upgrade", b"Upgrade: websocket"]


def test_a_426_says_to_what_to_upgrade() -> None:
    head = parse_reply(b"Upgrade: a", b"Content-Length: 0", b"Upgrade: b/2", start=b"HTTP/1.1 426 Upgrade Required")
    expected = [b"Content-Length: 0", b"Connection: Upgrade", b"Upgrade: a, b/2"]
    assert fields(head.forwarded(minor=1, close=False)) == expected


def test_an_interim_reply_says_nothing_about_the_connection() -> None:
    head = parse_reply(b"Link: </a>", b"Content-Length: 0", start=b"HTTP/1.1 103 Early Hints")
    assert fields(head.forwarded(minor=1, close=True)) == [b"Link: </a>"]


def test_a_204_has_no_framing_fields() -> None:
    head = parse_reply(b"Content-Length: 0", start=b"HTTP/1.1 204 No Content")
    assert fields(head.forwarded(minor=1, close=False)) == []


def test_the_reply_to_head_keeps_its_length() -> None:
    head = parse_reply(b"Content-Length: 5", method=b"HEAD")
    assert fields(head.forwarded(minor=1, close=False)) == [b"Content-Length: 5"]
