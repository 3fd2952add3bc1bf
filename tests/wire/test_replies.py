import json

import h11
import pytest

from ocr_tcp_lb.wire.replies import CONTINUE_REPLY, error_reply

from .samples import fields


def test_an_error_is_json_with_its_length() -> None:
    raw = error_reply(503, "queue_full", 'say "no"', b"id-1", retry_after_s=7)
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert {b"Content-Length: %d" % len(body), b"Content-Type: application/json"} <= set(fields(head))
    assert {b"Retry-After: 7", b"Cache-Control: no-store", b"X-Request-Id: id-1"} <= set(fields(head))
    assert json.loads(body) == {"error": {"code": "queue_full", "message": 'say "no"', "request_id": "id-1"}}


@pytest.mark.parametrize(
    ("minor", "close", "connection"),
    [
        (1, True, [b"Connection: close"]),
        (1, False, []),
        (0, True, [b"Connection: close"]),
        (0, False, [b"Connection: keep-alive"]),
    ],
)
def test_persistence_is_told_as_each_version_needs(minor: int, close: bool, connection: list[bytes]) -> None:
    head = error_reply(502, "backend_broke", "x", b"", minor=minor, close=close, head_only=True)
    assert [line for line in fields(head) if line.startswith(b"Connection")] == connection


def test_the_answer_to_head_has_no_body_but_its_length() -> None:
    whole = error_reply(504, "backend_silent", "x", b"i")
    bare = error_reply(504, "backend_silent", "x", b"i", head_only=True)
    assert whole.startswith(bare)
    assert bare.endswith(b"\r\n\r\n")


def test_a_405_says_what_is_allowed() -> None:
    assert b"\r\nAllow: GET, " in error_reply(405, "method_not_allowed", "x", b"")


def test_lines_that_are_ready_come_last() -> None:
    head, _, body = error_reply(502, "bad_reply", "x", b"", extra=b"Date: d\r\nA: b\r\n").partition(b"\r\n\r\n")
    assert head.endswith(b"\r\nDate: d\r\nA: b")
    assert body == error_reply(502, "bad_reply", "x", b"").partition(b"\r\n\r\n")[2]


def test_h11_reads_what_we_send() -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Expect", "100-continue")]))
    client.receive_data(CONTINUE_REPLY + error_reply(413, "body_too_large", "x", b""))
    events = [client.next_event() for _ in range(4)]
    assert [type(event) for event in events] == [h11.InformationalResponse, h11.Response, h11.Data, h11.EndOfMessage]
