"""Random heads, good and hostile, for the properties."""

from hypothesis import strategies as st

NAMES = ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Expect", "Upgrade", "Via", "X-Forwarded-For"]
NAMES += ["X-Request-Id", "TE", "A", "b", "X_Forwarded_For", "Cookie", "%s"]
VALUES = [
    "a",
    "5",
    "chunked",
    "close",
    "keep-alive",
    "Upgrade",
    "100-continue",
    "websocket",
    "x, y",
    "a: b",
    "",
    " ",
    "0",
]
VALUES += ["h2c", "\x00", "a\x01", "1 ", "\t2", "\xe9", "gzip", "a:80", "A", "+5", "Connection: close", "\r\nA: b"]
REQUEST_STARTS = [
    "GET / HTTP/1.1",
    "POST /x?y HTTP/1.1",
    "GET / HTTP/1.0",
    "OPTIONS * HTTP/1.1",
    "GET http://a/ HTTP/1.1",
]
REQUEST_STARTS += [
    "GET /#",
    "GET / HTTP/1.2",
    "CONNECT a:80 HTTP/1.1",
    "GET  / HTTP/1.1",
    "GET /: x HTTP/1.1",
    "GET /\xe9 HTTP/1.1",
]
STATUS_LINES = [
    "HTTP/1.1 200 OK",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 204 x",
    "HTTP/1.1 101 x",
    "HTTP/1.1 100 ",
    "HTTP/1.1 999 x",
]
STATUS_LINES += ["HTTP/1.1 304", "HTTP/1.1 426 a: b", "HTTP/1.1 200 \x01"]


@st.composite
def heads(draw: st.DrawFn, starts: list[str]) -> bytes:
    """A head of likely and hostile parts; sometimes with one piece cut out, replaced or doubled."""
    names = st.sampled_from(NAMES)
    values = st.one_of(st.sampled_from(VALUES), st.text("aZ0 \t:,;%\x7f\xff", max_size=6))
    colons = st.sampled_from([": "] * 12 + [":", " : ", ":\t", ":  "])
    lines = [draw(st.sampled_from(starts))]
    if draw(st.integers(0, 9)):
        lines.append("Host: a")
    for _ in range(draw(st.integers(0, 4))):
        lines.append(draw(names) + draw(colons) + draw(values))
    raw = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(raw)))
        junk = draw(st.sampled_from([b"", b"\x00", b"\n", b"\r", b" ", b": ", b"\r\n", b"\xff", b"a"]))
        raw = raw[:at] + junk + raw[at + draw(st.integers(0, 2)) :]
    return raw
