"""Rows: chunked bodies of requests (RFC 9112 section 7.1)."""

from .row import Row, passed, post, refused

RULE = "RFC 9112 7.1"
POST, HOST, CHUNKED = b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked"


def _refused(name: str, body: bytes, rule: str = RULE) -> Row:
    return refused(name, rule, post(CHUNKED, body=body))


def _passed(name: str, body: bytes, rule: str = RULE) -> Row:
    """Chunked bodies pass byte for byte."""
    return passed(name, rule, post(CHUNKED, body=body), POST, HOST, CHUNKED, body)


CHUNKS = (
    _refused("a size of 17 digits", b"1" * 17 + b"\r\n"),
    _refused("a size over 63 bits", b"8000000000000000\r\n"),
    _refused("sizes over 63 bits in all", b"1\r\nx\r\n7fffffffffffffff\r\n"),
    _refused("a size with a plus", b"+5\r\nhello\r\n0\r\n\r\n"),
    _refused("a size with a minus", b"-5\r\nhello\r\n0\r\n\r\n"),
    _refused("a size with 0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
    _refused("a size with an underscore", b"0_5\r\nhello\r\n0\r\n\r\n"),
    _refused("a size that is no number", b"g\r\nhello\r\n0\r\n\r\n"),
    _refused("an empty size", b"\r\nhello\r\n0\r\n\r\n"),
    _refused("a blank before a size", b" 5\r\nhello\r\n0\r\n\r\n"),
    _refused("a blank after a size", b"5 \r\nhello\r\n0\r\n\r\n"),
    _refused("a tab after a size", b"5\t\r\nhello\r\n0\r\n\r\n"),
    _refused("a bare LF after a size", b"5\nhello\r\n0\r\n\r\n", "RFC 9112 2.2"),
    _refused("a bare CR after a size", b"5\rhello\r\n0\r\n\r\n", "RFC 9112 2.2"),
    _refused("no CRLF after the data", b"5\r\nhello0\r\n\r\n"),
    _refused("more data than announced", b"5\r\nhello!\r\n0\r\n\r\n"),
    _refused("a bare LF after the data", b"5\r\nhello\n0\r\n\r\n", "RFC 9112 2.2"),
    _refused("less data than announced", b"6\r\nhello\r\n0\r\n\r\n"),
    _refused("a bare LF at the end", b"0\r\n\n", "RFC 9112 2.2"),
    _refused("a bare LF in an extension", b"5;a\nhello\r\n0\r\n\r\n", "RFC 9112 7.1.1"),
    _refused("a request hidden in an extension", b"5;a\n0\n\nGET /evil HTTP/1.1\r\n\r\n", "RFC 9112 7.1.1"),
    _refused("an extension without a name", b"5;\r\nhello\r\n0\r\n\r\n", "RFC 9112 7.1.1"),
    _refused("an extension over 256 bytes", b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n", "RFC 9112 7.1.1"),
    _refused("extensions over 16 KiB in all", b"".join([b"1;" + b"a" * 250 + b"\r\nx\r\n"] * 70), "RFC 9112 7.1.1"),
    _refused("a quote that never ends", b'5;a="b\r\nhello\r\n0\r\n\r\n', "RFC 9112 7.1.1"),
    _refused("a trailer that frames", b"0\r\nContent-Length: 5\r\n\r\n", "RFC 9110 6.5.1"),
    _refused("a trailer that codes", b"0\r\nTransfer-Encoding: chunked\r\n\r\n", "RFC 9110 6.5.1"),
    _refused("a trailer that routes", b"0\r\nHost: b\r\n\r\n", "RFC 9110 6.5.1"),
    _refused("a trailer that authorizes", b"0\r\nAuthorization: x\r\n\r\n", "RFC 9110 6.5.1"),
    _refused("a trailer that says how to read the body", b"0\r\nContent-Encoding: gzip\r\n\r\n", "RFC 9110 6.5.1"),
    _refused("a trailer with an underscore", b"0\r\nContent_Length: 5\r\n\r\n", "RFC 3875 4.1.18"),
    _refused("a folded trailer", b"0\r\nX: a\r\n b\r\n\r\n", "RFC 9112 5.2"),
    _refused("trailers over 8 KiB", b"0\r\n" + b"X: y\r\n" * 2000 + b"\r\n", "RFC 9112 7.1.2"),
    refused(
        "more data than the limit",
        "RFC 9110 15.5.14",
        post(CHUNKED, body=b"6\r\nhello!\r\n0\r\n\r\n"),
        413,
        limits={"body_bytes": 5},
    ),
    refused(
        "more announced than the limit",
        "RFC 9110 15.5.14",
        post(CHUNKED, body=b"5\r\nhello\r\n1\r\nx\r\n0\r\n\r\n"),
        413,
        limits={"body_bytes": 5},
    ),
    Row("a chunk that stays out", "RFC 9110 15.5.9", post(CHUNKED, body=b"5\r\nhel"), 408, timeouts={"idle_s": 0.02}),
    _passed("an empty body", b"0\r\n\r\n"),
    _passed("several chunks", b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"),
    _passed("sizes with leading zeros", b"005\r\nhello\r\n000\r\n\r\n"),
    _passed("sizes in capitals", b"A\r\n0123456789\r\n0\r\n\r\n"),
    _passed("extensions", b'5;a;b=c;d="e;\\""\r\nhello\r\n0;z\r\n\r\n', "RFC 9112 7.1.1"),
    _passed("a harmless trailer", b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", "RFC 9112 7.1.2"),
    _passed("a digest behind the data", b"5\r\nhello\r\n0\r\nContent-Digest: sha-256=:AA==:\r\n\r\n", "RFC 9530 2"),
    _passed("data that looks like the end", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n"),
)
