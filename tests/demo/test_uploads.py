import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocr_tcp_lb.demo.uploads import UploadError, image_of

FORM = "multipart/form-data; boundary=xyz"


def part(disposition: str, data: bytes, content_type: str = "image/png") -> bytes:
    head = f"--xyz\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: {content_type}\r\n\r\n"
    return head.encode() + data + b"\r\n"


@pytest.mark.parametrize("content_type", ["", "image/png", "application/x-www-form-urlencoded"])
def test_raw_body_is_the_image(content_type: str) -> None:
    assert image_of(content_type, b"\x89PNG") == b"\x89PNG"


@given(st.binary(min_size=1) | st.text("\r\n-xyz\x0b\x85\x1c", min_size=1).map(str.encode))
def test_uploaded_file_arrives_byte_for_byte(data: bytes) -> None:
    if b"--xyz" in data:
        return
    assert image_of(FORM, part('name="file"; filename="a.png"', data) + b"--xyz--\r\n") == data


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain; charset=utf-8", "application/octet-stream"])
def test_content_type_of_the_file_changes_nothing(content_type: str) -> None:
    data = bytes(range(256))
    body = part('name="file"; filename="a"', data, content_type) + b"--xyz--\r\n"
    assert image_of(FORM, body) == data


def test_file_is_found_among_other_fields() -> None:
    body = part('name="lang"', b"en") + part('name="scan"; filename="a.png"', b"PNG") + b"--xyz--\r\n"
    assert image_of(FORM, body) == b"PNG"


def test_field_named_as_an_image_will_do() -> None:
    assert image_of(FORM, part('name="lang"', b"en") + part('name="image"', b"PNG") + b"--xyz--\r\n") == b"PNG"


@pytest.mark.parametrize("text", ["{}", "{}\n", "data:image/png;base64,{}"])
def test_json_carries_base64(text: str) -> None:
    image = text.format(base64.b64encode(b"\x89PNG").decode())
    assert image_of("application/json; charset=utf-8", json.dumps({"image": image}).encode()) == b"\x89PNG"


@pytest.mark.parametrize(
    ("content_type", "body", "told"),
    [
        ("image/png", b"", "empty"),
        (FORM, part('name="lang"', b"en") + b"--xyz--\r\n", "no file"),
        (FORM, b"nothing", "no file"),
        (FORM, b"", "no file"),
        ("multipart/form-data", part('name="file"; filename="a"', b"x"), "no file"),
        (FORM, part('name="file"; filename="a"', b"") + b"--xyz--\r\n", "empty"),
        ("application/json", b"{", "not JSON"),
        ("application/json", b"[" * 100_000, "not JSON"),
        ("application/json", b"\xff", "not JSON"),
        ("application/json", b"[1]", "<base64>"),
        ("application/json", b'{"image": 1}', "<base64>"),
        ("application/json", b'{"image": "?"}', "not base64"),
        ("application/json", '{"image": "é"}'.encode(), "not base64"),
        ("application/json", b'{"image": ""}', "empty"),
    ],
)
def test_body_without_an_image_is_told_what_to_send(content_type: str, body: bytes, told: str) -> None:
    with pytest.raises(UploadError, match=told):
        image_of(content_type, body)
