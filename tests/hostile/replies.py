"""Rows: what backends may answer, and what becomes of it (RFC 9112 sections 4 to 7, RFC 9110 section 15)."""

from .row import BROKEN, ENDS, OK, RESETS, STAYS, Row, head

GET, HOST = b"GET / HTTP/1.1", b"Host: a"
SENT = head()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
TEN = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
STORM = b"HTTP/1.1 102 Processing\r\n\r\n"


def _answer(name: str, rule: str, reply: bytes, answer: int | str, body: bytes = b"ok", then: str = STAYS) -> Row:
    return Row(name, rule, SENT, answer, (GET, HOST, b""), reply, then, body)


def _fields(*lines: bytes, body: bytes = b"hello") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", body])


def _nonsense(name: str, rule: str, reply: bytes, then: str = STAYS) -> Row:
    """The client gets a 502, and nothing of what the backend said."""
    return Row(name, rule, SENT, 502, (GET, HOST, b""), reply, then)


REPLIES = (
    _nonsense(
        "length and chunked", "RFC 9112 6.3 rule 3", _fields(b"Content-Length: 5", b"Transfer-Encoding: chunked")
    ),
    _nonsense("two lengths of a reply", "RFC 9112 6.3 rule 5", _fields(b"Content-Length: 5", b"Content-Length: 6")),
    _nonsense("one length of a reply twice", "RFC 9110 8.6", _fields(b"Content-Length: 5", b"Content-Length: 5")),
    _nonsense("a list of lengths", "RFC 9112 6.3 rule 5", _fields(b"Content-Length: 5, 5")),
    _nonsense("a signed length", "RFC 9112 6.3 rule 5", _fields(b"Content-Length: +5")),
    _nonsense("a length of 30 digits", "RFC 9112 6.3 rule 5", _fields(b"Content-Length: " + b"5" * 30)),
    _nonsense("an unknown coding", "RFC 9112 6.3 rule 4", _fields(b"Transfer-Encoding: gzip, chunked")),
    _nonsense("a tab after the coding", "RFC 9110 5.6.3", _fields(b"Transfer-Encoding: chunked\t", body=b"0\r\n\r\n")),
    _nonsense(
        "chunked twice in a reply",
        "RFC 9112 6.1",
        _fields(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    ),
    _nonsense("chunked in HTTP/1.0", "RFC 9112 6.1", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    _nonsense("a status of two digits", "RFC 9112 4", b"HTTP/1.1 20 OK\r\n\r\n"),
    _nonsense("a status of four digits", "RFC 9112 4", b"HTTP/1.1 2000 OK\r\n\r\n"),
    _nonsense("a status of 600", "RFC 9110 15", b"HTTP/1.1 600 X\r\n\r\n"),
    _nonsense("a status of 099", "RFC 9110 15", b"HTTP/1.1 099 X\r\n\r\n"),
    _nonsense("a status line without a status", "RFC 9112 4", b"HTTP/1.1 OK\r\n\r\n"),
    _nonsense("two blanks before the status", "RFC 9112 4", b"HTTP/1.1  200 OK\r\n\r\n"),
    _nonsense("a reply of HTTP/2", "RFC 9112 2.3", b"HTTP/2.0 200 OK\r\n\r\n"),
    _nonsense("a reply of HTTP/0.9", "RFC 9112 2.3", b"<html>hello</html>", ENDS),
    _nonsense("an empty line before the reply", "RFC 9112 2.2", b"\r\n" + OK),
    _nonsense("bare LF in a reply", "RFC 9112 2.2", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    _nonsense("a bare CR in a reply", "RFC 9112 2.2", _fields(b"X: a\rb", b"Content-Length: 5")),
    _nonsense("a folded reply", "RFC 9112 5.2", _fields(b"X: a", b" b", b"Content-Length: 5")),
    _nonsense("a NUL in a reply", "RFC 9110 5.5", _fields(b"X: \x00", b"Content-Length: 5")),
    _nonsense("a blank before a reply's colon", "RFC 9112 5.1", _fields(b"Content-Length : 5")),
    _nonsense("a reply's field without a colon", "RFC 9112 5", _fields(b"X", b"Content-Length: 5")),
    _nonsense("a head of a reply over the limit", "RFC 9112 5.4", _fields(b"X: " + b"x" * 17_000)),
    _nonsense("a head of a reply that never ends", "RFC 9112 5.4", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 3000),
    _nonsense("a TLS alert", "RFC 8446 6", b"\x15\x03\x01\x00\x02\x02\x46", ENDS),
    _nonsense("an unasked 101", "RFC 9110 15.2.2", b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nevil"),
    _nonsense(
        "an unasked 101 to nothing", "RFC 9110 7.8", b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: ,\r\n\r\nevil"
    ),
    Row(
        "a 101 to what nobody offered",
        "RFC 9110 7.8",
        head(b"Connection: Upgrade", b"Upgrade: chat, talk/2"),
        502,
        (GET, HOST, b"Connection: Upgrade", b"Upgrade: chat, talk/2", b""),
        b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: talk/3\r\n\r\nevil",
    ),
    _nonsense("a storm of 1xx", "RFC 9110 15.2", STORM * 40),
    _nonsense("a storm of 1xx that never ends in a reply", "RFC 9110 15.2", STORM * 3, ENDS),
    _nonsense("an end inside the head", "RFC 9112 8", b"HTTP/1.1 200 OK\r\nContent-Le", ENDS),
    _nonsense("a reset inside the head", "RFC 9112 8", b"HTTP/1.1 200 OK\r\nContent-Le", RESETS),
    _nonsense("an end instead of a reply", "RFC 9112 8", b"", ENDS),
    _nonsense(
        "a first chunk that is none, in one piece with the head", "RFC 9112 7.1", CHUNKED + b"zz\r\n" + bytes(200)
    ),
    _nonsense(
        "a trailer of a reply that frames", "RFC 9110 6.5.1", CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n" + bytes(200)
    ),
    _answer("an end inside a length", "RFC 9112 8", TEN + b"hello", BROKEN, b"hello", ENDS),
    _answer("a reset inside a length", "RFC 9112 8", TEN + b"hello", BROKEN, b"hello", RESETS),
    _answer("an end before the body", "RFC 9112 8", TEN, BROKEN, b"", ENDS),
    _answer("an end inside a chunk", "RFC 9112 8", CHUNKED + b"a\r\nhello", BROKEN, b"a\r\nhello", ENDS),
    _answer("an end between chunks", "RFC 9112 8", CHUNKED + b"5\r\nhello\r\n", BROKEN, b"5\r\nhello\r\n", ENDS),
    _answer("an end before the last CRLF", "RFC 9112 8", CHUNKED + b"0\r\n", BROKEN, b"0\r\n", ENDS),
    _answer("a length", "RFC 9112 6.3 rule 6", TEN + b"helloworld", 200, b"helloworld"),
    _answer("chunks", "RFC 9112 6.3 rule 4", CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", 200, b"hello"),
    _answer(
        "a digest behind chunks", "RFC 9530 2", CHUNKED + b"2\r\nok\r\n0\r\nContent-Digest: sha-256=:AA==:\r\n\r\n", 200
    ),
    _answer(
        "a stray field behind chunks", "RFC 9110 6.5.1", CHUNKED + b"2\r\nok\r\n0\r\nDate: x\r\nVary: y\r\n\r\n", 200
    ),
    _answer("the end as the end", "RFC 9112 6.3 rule 8", _fields(), 200, b"hello", ENDS),
    _answer("no reason", "RFC 9112 4", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200),
    _answer(
        "a Connection that is no list of tokens",
        "RFC 9110 7.6.1",
        _fields(b"Connection: keep-alive, timeout=5", b"Content-Length: 5"),
        200,
        b"hello",
    ),
    _answer("HTTP/1.0 with a length", "RFC 9112 9.3", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
    _answer("204", "RFC 9112 6.3 rule 1", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    _answer("204 with a length", "RFC 9110 8.6", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, b""),
    _answer("304 with a length", "RFC 9112 6.3 rule 1", b"HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", 304, b""),
    _answer(
        "304 with a coding", "RFC 9112 6.3 rule 1", b"HTTP/1.1 304 X\r\nTransfer-Encoding: chunked\r\n\r\n", 304, b""
    ),
    _answer("a second reply behind the first", "RFC 9112 9.3", OK + OK.replace(b"ok", b"no"), 200),
    _answer("rubbish behind a reply", "RFC 9112 9.3", OK + b"\x00" * 70_000, 200),
    _answer("a reply behind chunks", "RFC 9112 9.3", CHUNKED + b"2\r\nok\r\n0\r\n\r\n" + OK.replace(b"ok", b"no"), 200),
    _answer("a body behind 204", "RFC 9112 6.3 rule 1", b"HTTP/1.1 204 X\r\n\r\nevil", 204, b""),
    _answer("a body behind 304", "RFC 9112 6.3 rule 1", b"HTTP/1.1 304 X\r\nContent-Length: 4\r\n\r\nevil", 304, b""),
    Row(
        "a body behind HEAD",
        "RFC 9110 9.3.2",
        head(start=b"HEAD / HTTP/1.1"),
        200,
        (b"HEAD / HTTP/1.1", HOST, b""),
        OK,
        body=b"",
    ),
    Row("silence", "RFC 9110 15.6.5", SENT, 504, (GET, HOST, b""), b"", timeouts={"response_s": 0.02}),
    Row(
        "silence inside a reply",
        "RFC 9112 8",
        SENT,
        BROKEN,
        (GET, HOST, b""),
        TEN + b"hello",
        body=b"hello",
        timeouts={"response_s": 0.03, "idle_s": 0.03},
    ),
    Row(
        "chunks for HTTP/1.0",
        "RFC 9112 7.1",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        200,
        (GET, HOST, b""),
        CHUNKED + b"2\r\nok\r\n0\r\n\r\n",
    ),
    Row(
        "broken chunks for HTTP/1.0",
        "RFC 9112 8",
        b"GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        BROKEN,
        (GET, HOST, b""),
        CHUNKED + b"5\r\nok",
        ENDS,
        b"ok",
    ),
)
