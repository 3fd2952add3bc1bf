"""Prints what heads cost, in microseconds each: `python -m tests.wire.speed`."""

from collections.abc import Callable
from timeit import repeat

from ocr_tcp_lb.wire import Hop, ReplyParser, RequestParser, Router, head_end

REQUEST = (
    b"POST /get_ocr_api?lang=en HTTP/1.1\r\nHost: 127.0.0.1:4999\r\nUser-Agent: python-requests/2.32.3\r\n"
    b"Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\nContent-Length: 1024\r\n"
    b"Content-Type: image/png\r\nX-Trace: 0123456789abcdef\r\n\r\n"
)
REPLY = (
    b"HTTP/1.1 200 OK\r\nServer: Werkzeug/3.0.1 Python/3.11.7\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: 31\r\nConnection: close\r\n\r\n"
)
HOP = Hop(b"127.0.0.1", False, b"http", b"127.0.0.1:4999")
ID = b"0123456789abcdef"


def report(name: str, call: Callable[[], object], times: int = 20_000) -> None:
    best = min(repeat(call, number=times, repeat=5)) / times
    print(f"{name:32} {best * 1e6:6.2f} us")


def main() -> None:
    requests, replies, slow = RequestParser(), ReplyParser(), RequestParser(shapes=0)
    router = Router([b"/get_ocr", b"/get_ocr_api"])

    def relay_request() -> bytes:
        head = requests.parse(REQUEST)
        return head.forwarded(router.rewritten(head, b"/get_ocr"), HOP, ID)

    def relay_reply() -> bytes:
        return replies.parse(REPLY, b"POST").forwarded(minor=1, close=False, extra=b"X-Request-Id: " + ID + b"\r\n")

    report("find a request's end", lambda: head_end(REQUEST, 16384))
    report("parse a request", lambda: requests.parse(REQUEST))
    report("parse and forward a request", relay_request)
    report("parse a reply", lambda: replies.parse(REPLY, b"POST"))
    report("parse and forward a reply", relay_reply)
    report("parse a request, h11 every time", lambda: slow.parse(REQUEST), 2_000)


if __name__ == "__main__":
    main()
