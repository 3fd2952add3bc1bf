"""What kind of image some bytes are, and its size in pixels, read from the header alone.

`describe` never raises: bytes that are neither PNG nor JPEG, or whose header is cut short, have an unknown
type or no size. Pure.
"""

from dataclasses import dataclass
from typing import Literal

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# ITU-T T.81 table B.1: the start-of-frame markers; C4, C8 and CC among them mean something else.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LONE_MARKERS = frozenset(range(0xD0, 0xD8)) | {0x01}  # restart markers and TEM have no length
_END_MARKERS = frozenset({0xD9, 0xDA})  # end of image, start of scan: no frame header follows


@dataclass(frozen=True, slots=True)
class Image:
    """The type of an image and its size in pixels; a size of 0 by 0 is one that the header does not tell."""

    type: Literal["png", "jpeg", "unknown"]
    width: int = 0
    height: int = 0


def describe(data: bytes) -> Image:
    """Return the type and size that the first bytes of `data` tell."""
    if data.startswith(_PNG_SIGNATURE):
        return _describe_png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _describe_jpeg(data)
    return Image("unknown")


def _describe_png(data: bytes) -> Image:
    """PNG (ISO 15948) 11.2.1: IHDR comes first; its data begins with width and height."""
    if data[12:16] != b"IHDR" or len(data) < 24:
        return Image("png")
    return Image("png", int.from_bytes(data[16:20]), int.from_bytes(data[20:24]))


def _describe_jpeg(data: bytes) -> Image:
    """ITU-T T.81 B.1.1: walk over the marker segments to the frame header (B.2.2)."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAME_MARKERS:
            return Image("jpeg", int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7]))
        if marker in _END_MARKERS:
            break
        if marker == 0xFF:  # B.1.1.2: any marker may be preceded by fill bytes
            at += 1
        elif marker in _LONE_MARKERS:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return Image("jpeg")
