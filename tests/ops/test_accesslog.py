"""One line a request: what stands in it, and that no client can break it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_tcp_lb.ops.accesslog import Clock, any_json, any_text, json_formatter, json_report, text_formatter
from ocr_tcp_lb.relay.record import Record


def clock() -> Clock:
    return Clock(wall=lambda: 1_700_000_000.0, monotonic=lambda: 100.0)


def record(target: bytes = b"/get_ocr?a=1", method: bytes = b"POST") -> Record:
    one = Record("127.0.0.1", b"id-1", method, target)
    one.status, one.bytes_in, one.bytes_out = 200, 1000, 20
    one.backend, one.attempts = "b1", 2
    one.began, one.asked, one.leased, one.connected, one.answered, one.ended = 100, 100.1, 100.3, 100.31, 100.5, 100.625
    return one


def test_text_line_has_every_field_in_its_place() -> None:
    assert text_formatter(clock())(record()).decode() == (
        '2023-11-14T22:13:20.625Z id-1 127.0.0.1 "POST /get_ocr?a=1" 200 1000/20 b1 2 200.0/10.0/190.0/625.0 ok\n'
    )


def test_text_line_marks_what_was_not_reached() -> None:
    refused = Record("unix", b"id-2")
    refused.began = refused.ended = 100.0
    refused.ending = "bad_request"
    line = text_formatter(clock())(refused).decode()
    assert line == '2023-11-14T22:13:20.000Z id-2 unix "- -" - 0/0 - 0 -/-/-/0.0 bad_request\n'


def test_json_line_has_every_field_with_its_unit() -> None:
    line = json_formatter(clock())(record())
    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.625Z",
        "id": "id-1",
        "client": "127.0.0.1",
        "method": "POST",
        "target": "/get_ocr?a=1",
        "status": 200,
        "bytes_in": 1000,
        "bytes_out": 20,
        "backend": "b1",
        "attempts": 2,
        "queue_ms": 200.0,
        "connect_ms": 10.0,
        "first_byte_ms": 190.0,
        "total_ms": 625.0,
        "end": "ok",
    }


@pytest.mark.parametrize("target", [b'/a"b\\c', b"/b\\c", b"/\xe4\x1b\x7f"])
def test_json_gives_a_target_as_it_came(target: bytes) -> None:
    line = json_formatter(clock())(record(target))
    assert line.isascii()
    assert line[:-1].decode().isprintable()
    assert json.loads(line)["target"].encode("latin-1") == target


def test_json_log_says_in_json_what_was_dropped() -> None:
    assert json.loads(json_report(3, 'a "reason"')) == {"dropped": 3, "why": 'a "reason"'}


def test_json_line_has_null_for_what_was_not_reached() -> None:
    refused = Record("unix", b"id-2")
    got = json.loads(json_formatter(clock())(refused))
    assert [got[key] for key in ("status", "backend", "queue_ms", "connect_ms", "first_byte_ms")] == [None] * 5


def test_seconds_roll_over() -> None:
    one = clock()
    assert one.stamp(100.9996) == "2023-11-14T22:13:20.999Z"
    assert one.stamp(101.0) == "2023-11-14T22:13:21.000Z"
    assert one.stamp(100.5) == "2023-11-14T22:13:20.500Z", "records need not come in order"


times = st.floats(0.001, 1000.0) | st.just(0.0)
text = st.binary(max_size=20) | st.sampled_from([b"/get_ocr?a=1", b"POST", b'"', b"\\"])


@settings(max_examples=500, deadline=None)
@given(
    texts=st.tuples(text, text, text),
    phases=st.tuples(times, times, times, times, times, times),
    numbers=st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(0, 4)),
    status=st.sampled_from([0, 101, 200, 503]),
    backend=st.sampled_from(["-", "b1"]),
)
def test_quick_way_gives_the_very_line_of_the_careful_one(
    texts: tuple[bytes, ...], phases: tuple[float, ...], numbers: tuple[int, ...], status: int, backend: str
) -> None:
    one = Record("2001:db8::1", *texts)
    one.began, one.asked, one.leased, one.connected, one.answered, one.ended = phases
    one.bytes_in, one.bytes_out, one.attempts = numbers
    one.status, one.backend = status, backend if one.leased == 0.0 else "b1"
    watch = clock()
    assert text_formatter(watch)(one).decode() == any_text(one, watch)
    assert text_formatter(watch, stamped=False)(one).decode() == any_text(one, watch, stamped=False)
    assert json.loads(json_formatter(watch)(one)) == json.loads(any_json(one, watch))


@settings(max_examples=200, deadline=None)
@given(target=st.binary(max_size=60), method=st.binary(max_size=10))
def test_no_bytes_of_a_client_can_break_or_forge_a_line(target: bytes, method: bytes) -> None:
    line = text_formatter(clock())(record(target, method)).decode()
    assert line.isascii()
    assert line[:-1].isprintable()
    assert line.count('"') == 2
    assert line.endswith(" 200 1000/20 b1 2 200.0/10.0/190.0/625.0 ok\n")
    assert json.loads(json_formatter(clock())(record(target, method)))["end"] == "ok"


def test_wall_clock_that_was_set_is_followed() -> None:
    """Or the machine slept meanwhile, in which time the monotonic clock stands still."""
    wall, monotonic = [1_000_000.0], [100.0]
    clock = Clock(lambda: wall[0], lambda: monotonic[0])
    assert clock.stamp(100.0) == "1970-01-12T13:46:40.000Z"
    wall[0] += 8 * 3600 + 10
    monotonic[0] += 10
    assert clock.stamp(110.0) == "1970-01-12T21:46:50.000Z"
