import pytest

from ocr_tcp_lb.wire.errors import RequestError, bad_request
from ocr_tcp_lb.wire.fields import (
    claims_origin,
    impersonates,
    list_members,
    read_field,
    split_head,
)


def test_a_head_splits_into_start_line_and_fields_as_spelt() -> None:
    start, fields = split_head(b"S L\r\nName: value\r\nX-y:\t a b \r\nEmpty:\r\n\r\n", bad_request)
    assert start == b"S L"
    assert fields == [(b"Name", b"value"), (b"X-y", b"a b"), (b"Empty", b"")]


@pytest.mark.parametrize("raw", [b"", b"\r\n", b"A", b"A\r\nB: c\r\n", b"A\r\n\r\nrest", b"\r\nA\r\n\r\n", b"\r\n\r\n"])
def test_anything_but_one_complete_head_is_refused(raw: bytes) -> None:
    with pytest.raises(RequestError):
        split_head(raw, bad_request)


@pytest.mark.parametrize(
    "line",
    [
        b" folded: x",
        b"\tfolded",
        b"no colon",
        b": no name",
        b"Name : x",
        b"Name\t: x",
        b"Na me: x",
        b"N\x00: x",
        b"N\x80: x",
        b'"N": x',
        b"(N): x",
        b"N: a\x00b",
        b"N: a\rb",
        b"N: a\nb",
        b"N: a\x0bb",
        b"N: a\x7fb",
        b"N: \x01",
    ],
)
def test_malformed_field_lines_are_refused(line: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        read_field(line, bad_request)
    assert caught.value.status == 400


def test_values_may_hold_tabs_colons_and_obsolete_text() -> None:
    assert read_field(b"N: a\tb: \xc3\xa9", bad_request) == (b"N", b"a\tb: \xc3\xa9")


def test_lists_lose_empty_members_and_case() -> None:
    assert list_members([b"A, ,b", b"\tC "]) == [b"a", b"b", b"c"]


def test_fields_about_the_origin_are_known_in_both_spellings() -> None:
    assert claims_origin(b"x-forwarded-for")
    assert claims_origin(b"x_forwarded_port")
    assert claims_origin(b"forwarded")
    assert not claims_origin(b"x-real-ip")


def test_underscores_cannot_stand_in_for_fields_that_we_decide_about() -> None:
    assert impersonates(b"content_length")
    assert impersonates(b"transfer_encoding")
    assert impersonates(b"x_forwarded-for")
    assert impersonates(b"x_forwarded_port")
    assert not impersonates(b"content-length")
    assert not impersonates(b"my_field")
