"""Rows: heads of requests (RFC 9112 sections 2 to 6, RFC 9110)."""

from .row import CLOSED, Row, head, passed, post, refused

GET, POST, HOST = b"GET / HTTP/1.1", b"POST / HTTP/1.1", b"Host: a"
CHUNKED = b"Transfer-Encoding: chunked"
ONE = b"1\r\nx\r\n0\r\n\r\n"
HELLO = b"hello"

START_LINES = (
    refused("HTTP/0.9", "RFC 9112 2.3", b"GET /\r\n\r\n"),
    refused("HTTP/1.2", "RFC 9110 2.5", head(start=b"GET / HTTP/1.2"), 505),
    refused("HTTP/2 without its preface", "RFC 9110 2.5", head(start=b"GET / HTTP/2.0"), 505),
    refused("HTTP/3", "RFC 9110 2.5", head(start=b"GET / HTTP/3.0"), 505),
    refused("the preface of HTTP/2", "RFC 9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    refused("a version in lower case", "RFC 9112 2.3", head(start=b"GET / http/1.1")),
    refused("a version of two digits", "RFC 9112 2.3", head(start=b"GET / HTTP/1.10")),
    refused("another protocol's version", "RFC 9112 2.3", head(start=b"GET / RTSP/1.0")),
    refused("a TLS ClientHello", "RFC 8446 5.1", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40)),
    refused("an SSH greeting", "RFC 9112 3", b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    refused("an empty line first", "RFC 9112 2.2", b"\r\n" + head()),
    refused("a blank first", "RFC 9112 2.2", b" " + head()),
    refused("a tab first", "RFC 9112 2.2", b"\t" + head()),
    refused("a NUL first", "RFC 9112 2.2", b"\x00" + head()),
    refused("two blanks after the method", "RFC 9112 3", head(start=b"GET  / HTTP/1.1")),
    refused("two blanks before the version", "RFC 9112 3", head(start=b"GET /  HTTP/1.1")),
    refused("a tab in the request line", "RFC 9112 3", head(start=b"GET\t/ HTTP/1.1")),
    refused("a blank at the end of the request line", "RFC 9112 3", head(start=b"GET / HTTP/1.1 ")),
    refused("a bracket in the method", "RFC 9110 9.1", head(start=b"G(T / HTTP/1.1")),
    refused("no method", "RFC 9112 3.1", b" / HTTP/1.1\r\nHost: a\r\n\r\n"),
    refused("a bare LF after the request line", "RFC 9112 2.2", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    refused("bare LF everywhere", "RFC 9112 2.2", b"GET / HTTP/1.1\nHost: a\n\n"),
    refused("a bare CR in the request line", "RFC 9112 2.2", head(start=b"GET /\rx HTTP/1.1")),
    refused("a target that never ends", "RFC 9112 3", b"GET /" + b"a" * 20_000, 414),
)

TARGETS = (
    refused("a fragment", "RFC 9112 3.2", head(start=b"GET /#top HTTP/1.1")),
    refused("a NUL in the target", "RFC 9112 3.2", head(start=b"GET /\x00 HTTP/1.1")),
    refused("DEL in the target", "RFC 9112 3.2", head(start=b"GET /\x7f HTTP/1.1")),
    refused("raw UTF-8 in the target", "RFC 9112 3.2", head(start=b"GET /\xc3\xa9 HTTP/1.1")),
    refused("a blank in the target", "RFC 9112 3.2", head(start=b"GET /a b HTTP/1.1")),
    refused("authority form without CONNECT", "RFC 9112 3.2.3", head(start=b"GET a:80 HTTP/1.1")),
    refused("CONNECT", "RFC 9110 9.3.6", head(start=b"CONNECT a:80 HTTP/1.1"), 405),
    refused("CONNECT with a path", "RFC 9110 9.3.6", head(start=b"CONNECT / HTTP/1.1"), 405),
    refused("an asterisk without OPTIONS", "RFC 9112 3.2.4", head(start=b"GET * HTTP/1.1")),
    refused("a relative path", "RFC 9112 3.2", head(start=b"GET x HTTP/1.1")),
    refused("an absolute target of another scheme", "RFC 9112 3.2.2", head(start=b"GET ftp://a/ HTTP/1.1")),
    refused("an absolute target with another host", "RFC 9112 3.2.2", head(start=b"GET http://b/ HTTP/1.1")),
    refused("an absolute target with another port", "RFC 9112 3.2.2", head(start=b"GET http://a:81/ HTTP/1.1")),
    refused("user information in a target", "RFC 9110 4.2.4", head(start=b"GET http://u@a/ HTTP/1.1")),
    passed(
        "an absolute target",
        "RFC 9112 3.2.2",
        head(start=b"GET http://a/x?y HTTP/1.1"),
        b"GET /x?y HTTP/1.1",
        HOST,
        b"",
    ),
    passed("an absolute target without a path", "RFC 9112 3.2.2", head(start=b"GET http://a HTTP/1.1"), GET, HOST, b""),
    passed("OPTIONS *", "RFC 9112 3.2.4", head(start=b"OPTIONS * HTTP/1.1"), b"OPTIONS * HTTP/1.1", HOST, b""),
    passed(
        "escapes are kept",
        "RFC 3986 2.1",
        head(start=b"GET /%2e%00?%0d%0a HTTP/1.1"),
        b"GET /%2e%00?%0d%0a HTTP/1.1",
        HOST,
        b"",
    ),
    passed("dots are kept", "RFC 3986 5.2.4", head(start=b"GET /a/../b HTTP/1.1"), b"GET /a/../b HTTP/1.1", HOST, b""),
)

HOSTS = (
    refused("no Host", "RFC 9112 3.2", head(host=b"")),
    refused("two Hosts", "RFC 9112 3.2", head(b"Host: b")),
    refused("the same Host twice", "RFC 9112 3.2", head(HOST)),
    refused("an empty Host", "RFC 9110 4.2.1", head(host=b"Host:")),
    refused("a Host with a path", "RFC 9112 3.2", head(host=b"Host: a/b")),
    refused("a Host with a blank", "RFC 9112 3.2", head(host=b"Host: a b")),
    refused("a list of Hosts", "RFC 9112 3.2", head(host=b"Host: a, b")),
    refused("a Host with user information", "RFC 9112 3.2", head(host=b"Host: u@a")),
    refused("a Host with a port that is no number", "RFC 9112 3.2", head(host=b"Host: a:b")),
    passed("an IPv6 Host", "RFC 3986 3.2.2", head(host=b"Host: [::1]:80"), GET, b"Host: [::1]:80", b""),
)

FIELDS = (
    refused("a blank before the colon", "RFC 9112 5.1", head(b"X : y")),
    refused("a tab before the colon", "RFC 9112 5.1", head(b"X\t: y")),
    refused("a blank before the colon of Content-Length", "RFC 9112 5.1", post(b"Content-Length : 5", body=HELLO)),
    refused("no name", "RFC 9110 5.1", head(b": y")),
    refused("no colon", "RFC 9112 5", head(b"X")),
    refused("a bracket in a name", "RFC 9110 5.1", head(b"X(: y")),
    refused("a NUL in a name", "RFC 9110 5.1", head(b"X\x00: y")),
    refused("a high byte in a name", "RFC 9110 5.1", head(b"X\xe9: y")),
    refused("a NUL in a value", "RFC 9110 5.5", head(b"X: \x00")),
    refused("an escape character in a value", "RFC 9110 5.5", head(b"X: \x1b[0m")),
    refused("DEL in a value", "RFC 9110 5.5", head(b"X: \x7f")),
    refused("a vertical tab in a value", "RFC 9110 5.5", head(b"X: a\x0bb")),
    refused("a bare CR in a value", "RFC 9112 2.2", head(b"X: a\rb")),
    refused("a bare LF in a value", "RFC 9112 2.2", head(b"X: a\nEvil: b")),
    refused("a field behind a bare CR", "RFC 9112 2.2", head(b"X: a\rContent-Length: 5")),
    refused("a folded value", "RFC 9112 5.2", head(b"X: a", b" b")),
    refused("a value folded with a tab", "RFC 9112 5.2", head(b"X: a", b"\tb")),
    refused("a folded first field", "RFC 9112 2.2", b"GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n"),
    refused("a folded Transfer-Encoding", "RFC 9112 5.2", post(b"Transfer-Encoding:", b" chunked", body=ONE)),
    refused("an empty line ended by a bare LF", "RFC 9112 2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    refused("101 fields", "RFC 6585 5", head(*[b"X: y"] * 100), 431),
    refused("a value over the limit", "RFC 6585 5", head(b"X: " + b"y" * 17_000), 431),
    refused("many fields over the limit", "RFC 6585 5", head(*[b"X%d: " % n + b"y" * 990 for n in range(20)]), 431),
    refused("a name that never ends", "RFC 6585 5", b"GET / HTTP/1.1\r\n" + b"x" * 20_000, 431),
    refused("an unknown expectation", "RFC 9110 10.1.1", head(b"Expect: more"), 417),
    refused(
        "a TRACE that may go no further", "RFC 9110 7.6.2", head(b"Max-Forwards: 0", start=b"TRACE / HTTP/1.1"), 501
    ),
    refused("hops that are no number", "RFC 9110 7.6.2", head(b"Max-Forwards: x", start=b"OPTIONS / HTTP/1.1")),
    refused("a malformed Connection", "RFC 9110 7.6.1", head(b"Connection: a b")),
    passed(
        "a hop that is counted",
        "RFC 9110 7.6.2",
        head(b"Max-Forwards: 5", start=b"OPTIONS / HTTP/1.1"),
        *(b"OPTIONS / HTTP/1.1", HOST, b"Max-Forwards: 4", b""),
    ),
    passed("100 fields", "RFC 6585 5", head(*[b"X: y"] * 99), GET, HOST, *[b"X: y"] * 99, b""),
    passed("bytes above ASCII in a value", "RFC 9110 5.5", head(b"X: \xe9\tx"), GET, HOST, b"X: \xe9\tx", b""),
    passed("white space around a value", "RFC 9112 5.1", head(b"X:  \t y \t"), GET, HOST, b"X: y", b""),
    passed(
        "hop-by-hop fields",
        "RFC 9110 7.6.1",
        head(b"Keep-Alive: 5", b"TE: gzip", b"Proxy-Connection: x"),
        GET,
        HOST,
        b"",
    ),
    passed(
        "a field that Connection names",
        "RFC 9110 7.6.1",
        head(b"Connection: x-a", b"X-A: 1", b"X-B: 2"),
        GET,
        HOST,
        b"X-B: 2",
        b"",
    ),
    passed(
        "Connection cannot name the length away",
        "RFC 9110 7.6.1",
        post(b"Connection: Content-Length, Host", b"Content-Length: 5", body=HELLO),
        *(POST, HOST, b"Content-Length: 5", HELLO),
    ),
    passed(
        "a claim about the client",
        "RFC 7239 8.1",
        head(b"X-Forwarded-For: 1.1.1.1", b"Forwarded: for=1"),
        GET,
        HOST,
        b"",
    ),
    passed(
        "an underscore that CGI reads as a hyphen",
        "RFC 3875 4.1.18",
        head(b"X_Forwarded_For: 1", b"Content_Length: 9"),
        GET,
        HOST,
        b"",
    ),
    Row("a client that says nothing", "RFC 9112 9.5", b"", CLOSED, timeouts={"head_s": 0.02}),
    Row("a head that never ends", "RFC 9110 15.5.9", b"GET / HTTP/1.1\r\nHost:", 408, timeouts={"head_s": 0.02}),
)

_LENGTHS = b"+5|-5|5, 5|5,5|5, 6|0x5|5.0|5e0|five||5 5|5;|\xb2".split(b"|")
LENGTHS = (
    *(
        refused(f"Content-Length {value!r}", "RFC 9112 6.3 rule 5", post(b"Content-Length: " + value, body=HELLO))
        for value in _LENGTHS
    ),
    refused("Content-Length of 30 digits", "RFC 9112 6.3 rule 5", post(b"Content-Length: " + b"9" * 30)),
    refused("Content-Length over 63 bits", "RFC 9112 6.3 rule 5", post(b"Content-Length: 9223372036854775808")),
    refused(
        "Content-Length that wraps to 5",
        "RFC 9112 6.3 rule 5",
        post(b"Content-Length: 18446744073709551621", body=HELLO),
    ),
    refused("two lengths", "RFC 9112 6.3 rule 5", post(b"Content-Length: 5", b"Content-Length: 6", body=HELLO)),
    refused("one length twice", "RFC 9110 8.6", post(b"Content-Length: 5", b"content-length: 5", body=HELLO)),
    refused("more than the limit", "RFC 9110 15.5.14", post(b"Content-Length: 68000000"), 413),
    passed(
        "leading zeros",
        "RFC 9110 8.6",
        post(b"Content-Length: 005", body=HELLO),
        POST,
        HOST,
        b"Content-Length: 005",
        HELLO,
    ),
    passed(
        "a GET with a body",
        "RFC 9110 9.3.1",
        head(b"Content-Length: 5") + HELLO,
        GET,
        HOST,
        b"Content-Length: 5",
        HELLO,
    ),
    Row(
        "a body that stays out",
        "RFC 9110 15.5.9",
        post(b"Content-Length: 5", body=b"h"),
        408,
        timeouts={"idle_s": 0.02},
    ),
)

_CODINGS = {
    b"xchunked": 501,
    b"identity": 501,
    b"gzip": 501,
    b"gzip, chunked": 501,
    b"chunked, identity": 400,
    b"chunked, gzip": 400,
    b"chunked, chunked": 400,
    b"chunked;q=1": 400,
    b"chunked,": 400,
    b",chunked": 400,
    b"": 400,
    b'"chunked"': 400,
    b"\tchunked": 400,
    b"chunked\t": 400,
    b"\x0bchunked": 400,
    b"chunked\x0b": 400,
    b"chunked\x00": 400,
    b"chun ked": 400,
}
CODINGS = (
    *(
        refused(f"Transfer-Encoding {value!r}", "RFC 9112 6.1", post(b"Transfer-Encoding: " + value, body=ONE), status)
        for value, status in _CODINGS.items()
    ),
    refused("length, then chunked", "RFC 9112 6.3 rule 3", post(b"Content-Length: 5", CHUNKED, body=ONE)),
    refused("chunked, then length", "RFC 9112 6.3 rule 3", post(CHUNKED, b"Content-Length: 0", body=ONE)),
    refused("chunked twice", "RFC 9112 6.1", post(CHUNKED, CHUNKED, body=ONE)),
    refused("chunked, then another coding", "RFC 9112 6.1", post(CHUNKED, b"transfer-encoding: x", body=ONE)),
    refused("chunked on HTTP/1.0", "RFC 9112 6.1", post(CHUNKED, body=ONE, version=b"HTTP/1.0")),
    passed(
        "chunked in capitals", "RFC 9112 7", post(b"TRANSFER-ENCODING: Chunked", body=ONE), POST, HOST, CHUNKED, ONE
    ),
    passed(
        "a coding that an underscore hides", "RFC 3875 4.1.18", post(b"Transfer_Encoding: chunked"), POST, HOST, b""
    ),
)

REQUESTS = (*START_LINES, *TARGETS, *HOSTS, *FIELDS, *LENGTHS, *CODINGS)
