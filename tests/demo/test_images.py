import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocr_tcp_lb.demo.images import Image, describe

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480) + b"\x08\x02\0\0\0"


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg(frame_marker: int, *before: bytes) -> bytes:
    frame = segment(frame_marker, struct.pack(">BHHB", 8, 480, 640, 3) + bytes(9))
    return b"\xff\xd8" + segment(0xE0, b"JFIF\0") + b"".join(before) + frame + segment(0xDA, b"") + bytes(40)


def test_png_size_is_read() -> None:
    assert describe(PNG) == Image("png", 640, 480)


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2, 0xCF])
def test_jpeg_size_is_read_whatever_the_frame(marker: int) -> None:
    assert describe(jpeg(marker)) == Image("jpeg", 640, 480)


@pytest.mark.parametrize("before", [segment(0xC4, bytes(30)), b"\xff\xff\xff", b"\xff\xd0", segment(0xE1, PNG)])
def test_what_stands_before_the_frame_is_skipped(before: bytes) -> None:
    assert describe(jpeg(0xC0, before)) == Image("jpeg", 640, 480)


def test_jpeg_without_a_frame_before_its_scan_has_no_size() -> None:
    assert describe(b"\xff\xd8" + segment(0xDA, bytes(30)) + jpeg(0xC0)) == Image("jpeg")


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\xff\xd8", b"\x89PNG"])
def test_anything_else_is_unknown(data: bytes) -> None:
    assert describe(data) == Image("unknown")


def test_png_without_ihdr_has_no_size() -> None:
    assert describe(PNG.replace(b"IHDR", b"IDAT")) == Image("png")


@given(st.sampled_from([PNG, jpeg(0xC0)]), st.integers(0, 80), st.binary(max_size=40))
def test_no_bytes_raise(data: bytes, cut: int, tail: bytes) -> None:
    assert describe(data[:cut] + tail).type in ("png", "jpeg", "unknown")
