import pytest

from ocr_tcp_lb.wire import Framing, RequestError, RequestHead, RequestParser

from .samples import request

# (lines, start line, status): every rule of RFC 9112 and 9110 that a request can break in its head.
HOSTILE = [
    ([b"Content-Length: 5", b"Transfer-Encoding: chunked"], b"", 400),  # 9112, 6.1
    ([b"Transfer-Encoding: chunked", b"Content-Length: 5"], b"", 400),
    ([b"Content-Length: 5", b"Content-Length: 5"], b"", 400),  # 9110, 8.6
    ([b"Content-Length: 5", b"content-length: 6"], b"", 400),
    ([b"Content-Length: +5"], b"", 400),
    ([b"Content-Length: 5, 5"], b"", 400),
    ([b"Content-Length: 0x5"], b"", 400),
    ([b"Content-Length:"], b"", 400),
    ([b"Content-Length: " + b"1" * 30], b"", 400),
    ([b"Content-Length: 9999999999999999999"], b"", 400),
    ([b"Transfer-Encoding: xchunked"], b"", 501),  # 9112, 6.1
    ([b"Transfer-Encoding: identity"], b"", 501),
    ([b"Transfer-Encoding: gzip, chunked"], b"", 501),
    ([b"Transfer-Encoding: chunked, identity"], b"", 400),  # 9112, 6.3
    ([b"Transfer-Encoding: chunked, chunked"], b"", 400),
    ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], b"", 400),
    ([b"Transfer-Encoding: \x0bchunked"], b"", 400),
    ([b"Transfer-Encoding: chunked\x0c"], b"", 400),
    ([b"Transfer-Encoding:"], b"", 400),
    ([b"Transfer-Encoding: chunked"], b"POST / HTTP/1.0", 400),
    ([b"Transfer-Encoding : chunked"], b"", 400),  # 9112, 5.1
    ([b"A: b", b" c"], b"", 400),  # 9112, 5.2
    ([b"A: b", b"\tTransfer-Encoding: chunked"], b"", 400),
    ([b"A: b\nTransfer-Encoding: chunked"], b"", 400),  # 9112, 2.2
    ([b"A: b\rTransfer-Encoding: chunked"], b"", 400),
    ([b"A\x00B: c"], b"", 400),
    ([b"A: b\x00"], b"", 400),  # 9110, 5.5
    ([b"A: b\x1b"], b"", 400),
    ([b"A: \x7f"], b"", 400),
    ([b": empty"], b"", 400),
    ([b"no colon"], b"", 400),
    ([b"A\xe9: b"], b"", 400),
    ([b"Host: a"], b"", 400),  # 9112, 3.2: a second one
    ([b"hOST: b"], b"", 400),
    ([b"Connection: a b"], b"", 400),
    ([b"Connection: close", b"Connection: X-a, b=c"], b"", 400),
    ([b"Expect: 200-ok"], b"", 417),  # 9110, 10.1.1
    ([b"Expect: 100-continue, x"], b"", 417),
    ([b"Max-Forwards: 0"], b"OPTIONS * HTTP/1.1", 501),  # 9110, 7.6.2
    ([b"Max-Forwards: 000"], b"TRACE / HTTP/1.1", 501),
    ([b"Max-Forwards: -1"], b"TRACE / HTTP/1.1", 400),
    ([b"Max-Forwards:"], b"TRACE / HTTP/1.1", 400),
    ([b"Max-Forwards: 1", b"max-forwards: 1"], b"OPTIONS / HTTP/1.1", 400),
    ([b"Max-Forwards: " + b"9" * 5000], b"OPTIONS / HTTP/1.1", 400),
    ([], b"GET / HTTP/0.9", 505),
    ([], b"GET / HTTP/1.2", 505),
    ([], b"PRI * HTTP/2.0", 505),
    ([], b"GET / HTTP/3.0", 505),
    ([], b"GET /", 400),
    ([], b"GET / HTTP/1.1 x", 400),
    ([], b"GET /#f HTTP/1.1", 400),
    ([], b"GET /\xe9 HTTP/1.1", 400),
    ([], b"GET /\x01 HTTP/1.1", 400),
    ([], b"GET a:80 HTTP/1.1", 400),  # 9112, 3.2.3
    ([], b"GET * HTTP/1.1", 400),  # 9112, 3.2.4
    ([], b"GET http://b/ HTTP/1.1", 400),  # 9112, 3.2.2
    ([], b"GET https://a/ HTTP/1.1", 400),
    ([], b"CONNECT a:80 HTTP/1.1", 405),
    ([], b"CONNECT / HTTP/1.1", 405),
    ([b"A: b"] * 100, b"", 431),  # RFC 6585, 5: with Host, 101
]


@pytest.mark.parametrize(("lines", "start", "status"), HOSTILE)
def test_hostile_heads_are_refused_cold_and_warm(lines: list[bytes], start: bytes, status: int) -> None:
    raw = request(*lines, start=start or b"POST /get_ocr HTTP/1.1")
    parser = RequestParser()
    for warm in (raw, request(b"A: b"), request(b"Content-Length: 5"), request(b"Transfer-Encoding: chunked"), raw):
        if warm is not raw:
            parser.parse(warm)
            continue
        with pytest.raises(RequestError) as caught:
            parser.parse(raw)
        assert caught.value.status == status


@pytest.mark.parametrize("host", [b"", b"Host:", b"Host: a b", b"Host: a,b", b"Host: a/b", b"Host: u@a", b"Host: a:b"])
def test_a_missing_or_invalid_host_is_refused(host: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        RequestParser().parse(request(host=host))
    assert caught.value.status == 400


def test_a_nul_cannot_make_one_shape_look_like_another() -> None:
    parser = RequestParser()
    parser.parse(request(b"A: 1", b"B: 2"))
    for forged in (request(b"A\x00B: 1"), request(b"B: 1", host=b"Host\x00A: a")):
        with pytest.raises(RequestError):
            parser.parse(forged)


def test_a_head_without_its_empty_line_never_matches_a_shape() -> None:
    parser = RequestParser()
    parser.parse(request(b"A: 1"))
    for raw in (request(b"A: 1")[:-2], request(b"A: 1 ")[:-2]):
        with pytest.raises(RequestError):
            parser.parse(raw)


def parsed(*lines: bytes, start: bytes = b"POST /get_ocr HTTP/1.1", host: bytes = b"Host: a") -> RequestHead:
    """Parse twice: the second time comes from the cache."""
    parser = RequestParser()
    parser.parse(request(*lines, start=start, host=host))
    return parser.parse(request(*lines, start=start, host=host))


def test_a_head_tells_its_parts() -> None:
    head = parsed(b"Content-Length: 7", b"X-Request-Id: abc-1", start=b"PUT /p%20q?a=b?c HTTP/1.1")
    assert (head.method, head.target, head.path, head.query) == (b"PUT", b"/p%20q?a=b?c", b"/p%20q", b"?a=b?c")
    assert (head.minor, head.host, head.request_id) == (1, b"a", b"abc-1")
    assert (head.framing, head.content_length, head.is_idempotent) == (Framing.LENGTH, 7, True)
    assert repr(head) == "<RequestHead b'PUT' b'/p%20q?a=b?c' length 7>"


def test_methods_that_may_run_twice() -> None:
    assert not parsed().is_idempotent
    assert not parsed(start=b"PATCH / HTTP/1.1").is_idempotent
    assert all(
        parsed(start=m + b" / HTTP/1.1").is_idempotent for m in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE")
    )


@pytest.mark.parametrize(
    ("minor", "lines", "persists"),
    [
        (b"1", [], True),
        (b"1", [b"Connection: close"], False),
        (b"1", [b"Connection: X, CLOSE"], False),
        (b"1", [b"Connection: keep-alive", b"Connection: close"], False),
        (b"0", [], False),
        (b"0", [b"Connection: Keep-Alive"], True),
        (b"0", [b"Connection: keep-alive, close"], False),
    ],
)
def test_persistence_follows_version_and_connection(minor: bytes, lines: list[bytes], persists: bool) -> None:
    assert parsed(*lines, start=b"GET / HTTP/1." + minor).keep_alive is persists


@pytest.mark.parametrize(
    ("minor", "lines", "expects"),
    [
        (b"1", [b"Expect: 100-Continue", b"Content-Length: 5"], True),
        (b"1", [b"Expect: 100-continue", b"Transfer-Encoding: chunked"], True),
        (b"1", [b"Expect: 100-continue"], False),
        (b"1", [b"Expect:", b"Content-Length: 5"], False),
        (b"1", [b"Expect: ,", b"Content-Length: 5"], False),
        (b"1", [b"Expect: 100-continue", b"Content-Length: 0"], False),
        (b"0", [b"Expect: 100-continue", b"Content-Length: 5"], False),
        (b"0", [b"Expect: nonsense", b"Content-Length: 5"], False),
    ],
)
def test_only_a_body_on_http_1_1_is_waited_for(minor: bytes, lines: list[bytes], expects: bool) -> None:
    assert parsed(*lines, start=b"POST / HTTP/1." + minor).expects_continue is expects


@pytest.mark.parametrize(
    ("minor", "lines", "upgrade"),
    [
        (b"1", [b"Connection: Upgrade", b"Upgrade: websocket"], b"websocket"),
        (b"1", [b"Connection: upgrade", b"Upgrade: a", b"Upgrade: b"], b"a, b"),
        (b"1", [b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 0"], b"websocket"),
        (b"1", [b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 1"], b""),
        (b"1", [b"Connection: Upgrade", b"Upgrade: websocket", b"Transfer-Encoding: chunked"], b""),
        (b"1", [b"Upgrade: websocket"], b""),
        (b"1", [b"Connection: Upgrade"], b""),
        (b"1", [b"Connection: Upgrade", b"Upgrade: ,", b"Upgrade:"], b""),
        (b"1", [b"Connection: Upgrade", b"Upgrade: websocket, h2c"], b""),
        (b"1", [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: A"], b""),
        (b"0", [b"Connection: Upgrade", b"Upgrade: websocket"], b""),
    ],
)
def test_an_upgrade_is_offered_only_where_it_may_be_granted(minor: bytes, lines: list[bytes], upgrade: bytes) -> None:
    assert parsed(*lines, start=b"GET / HTTP/1." + minor).upgrade == upgrade


@pytest.mark.parametrize("given", [b"a b", b"a" * 129, b'"', b"a,b", b"\xe9", b""])
def test_a_request_id_that_could_break_a_log_is_not_taken_over(given: bytes) -> None:
    assert parsed(b"X-Request-Id: " + given).request_id == b""


def test_two_request_ids_are_none() -> None:
    assert parsed(b"X-Request-Id: a", b"X-Request-Id: b").request_id == b""


def test_http_1_0_needs_no_host() -> None:
    assert parsed(start=b"GET / HTTP/1.0", host=b"").host == b""
    assert parsed(start=b"GET http://b/x HTTP/1.0", host=b"").host == b"b"


def test_odd_but_valid_white_space_is_accepted() -> None:
    assert parsed(b"A:b", b"C:\t d \t", b"Content-Length:5").content_length == 5


def test_a_shape_learned_from_odd_white_space_serves_strict_heads() -> None:
    parser = RequestParser()
    parser.parse(request(b"Content-Length:\t5 "))
    assert parser.parse(request(b"Content-Length: 6")).content_length == 6
    with pytest.raises(RequestError):
        parser.parse(request(b"Content-Length: 6\x00"))
