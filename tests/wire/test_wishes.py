import pytest

from ocr_tcp_lb.wire import RequestParser
from ocr_tcp_lb.wire.head import RequestHead
from ocr_tcp_lb.wire.wishes import patience_s, priority

from .samples import request


def head(*fields: tuple[bytes, bytes]) -> RequestHead:
    return RequestParser().parse(request(*(b"%b: %b" % field for field in fields)))


@pytest.mark.parametrize(
    ("value", "meaning"),
    [(b"0", 0), (b"9", 9), (b"10", None), (b"-1", None), (b"", None), (b"high", None), (b"1, 2", None)],
)
def test_priority_is_one_digit_or_nothing(value: bytes, meaning: int | None) -> None:
    assert priority(head((b"X-Priority", value))) == meaning


@pytest.mark.parametrize(
    ("field", "value", "meaning"),
    [
        (b"X-Request-Deadline-Ms", b"1500", 1.5),
        (b"x-request-deadline-ms", b"0", 0.0),
        (b"X-Request-Deadline-Ms", b"1.5", None),
        (b"X-Request-Deadline-Ms", b"9" * 10, None),
        (b"Prefer", b"wait=10", 10.0),
        (b"Prefer", b'respond-async, WAIT = "10"; x=y', 10.0),
        (b"Prefer", b"wait=10, wait=20", 10.0),
        (b"Prefer", b"await=10", None),
        (b"Prefer", b"wait", None),
        (b"Prefer", b"wait=soon", None),
        (b"Prefer", b'wait="10', None),
    ],
)
def test_patience_is_read_from_either_field(field: bytes, value: bytes, meaning: float | None) -> None:
    assert patience_s(head((field, value))) == meaning


def test_the_shorter_patience_counts() -> None:
    assert patience_s(head((b"Prefer", b"wait=3"), (b"X-Request-Deadline-Ms", b"2000"))) == 2.0


def test_preferences_in_several_fields_are_one_list() -> None:
    assert patience_s(head((b"Prefer", b"respond-async"), (b"Prefer", b"wait=3"))) == 3.0


def test_a_head_says_whether_there_is_anything_to_read() -> None:
    parser = RequestParser()
    assert not parser.parse(request(b"Accept: */*")).has_wishes
    for name in (b"prefer", b"X-PRIORITY", b"X-Request-Deadline-Ms"):
        assert parser.parse(request(name + b": 1")).has_wishes


def test_a_value_is_found_by_name_and_the_same_for_each_request_of_a_shape() -> None:
    parser = RequestParser()
    for key in (b"one", b"two"):
        assert parser.parse(request(b"X-Api-Key: " + key)).value(b"x-api-key") == key
    assert parser.parse(request()).value(b"x-api-key") == b""
