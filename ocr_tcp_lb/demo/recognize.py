"""What a worker does with an image: recognize its text, or, without the models, only look at its header.

A `Recognizer` takes the image's bytes and returns what the JSON reply says about them; it raises
`UnreadableImage` for bytes that it cannot use. It may block for as long as the work takes, and is called
by one thread at a time.
"""

import time
from typing import Any, Protocol

from ocr_tcp_lb.demo.images import describe
from ocr_tcp_lb.errors import LoadBalancerError

_MIB = 1024 * 1024
_SHORTEST_S, _LONGEST_S = 0.05, 0.3  # a small OCR model on a CPU
_LONGEST_FROM = 4 * _MIB  # a scanned page at 300 dpi

INSTALL = "install the extra `ocr` (in a checkout: pip install '.[ocr]')"
_NOTHING_READ = f"This is a demo worker: it looks at an image's header and reads no text. To read it, {INSTALL}."
LIBRARIES = "on Debian: apt-get install libgl1 libglib2.0-0"


class UnreadableImage(LoadBalancerError):
    """The bytes are no image that this recognizer can open."""


class Recognizer(Protocol):
    """See the module's docstring."""

    @property
    def name(self) -> str:
        """What stands in every reply."""

    def read(self, image: bytes) -> dict[str, Any]:
        """Return `text`, all lines joined, and `lines`, each with its text, score and box."""


class HeaderReader:
    """Reads no text and says so; takes as long as a small model would (50 to 300 ms, by size)."""

    name = "none (demo worker)"

    def read(self, image: bytes) -> dict[str, Any]:
        """Return an explanation in place of the text."""
        share = min(1.0, len(image) / _LONGEST_FROM)
        time.sleep(_SHORTEST_S + share * (_LONGEST_S - _SHORTEST_S))
        return {"text": _NOTHING_READ, "lines": []}


class TextReader:
    """Recognizes text with RapidOCR; its models come with the package and are loaded here, once."""

    name = "rapidocr"

    def __init__(self, threads: int) -> None:
        """Load the models; raise ImportError where the package or a library it needs is missing."""
        from rapidocr_onnxruntime import RapidOCR  # type: ignore[import-not-found,import-untyped,unused-ignore]

        # Three workers on one machine share its cores; each model would take them all.
        self._engine = RapidOCR(intra_op_num_threads=threads, inter_op_num_threads=1)

    def read(self, image: bytes) -> dict[str, Any]:
        """Return the lines found, from top to bottom; none is no error."""
        if describe(image).type == "unknown":
            raise UnreadableImage("this is neither PNG nor JPEG")
        try:
            found, _ = self._engine(image)
        except Exception as error:  # Pillow, OpenCV and ONNX have no common base class
            raise UnreadableImage(f"the image cannot be read: {type(error).__name__}") from error
        lines = [{"text": text, "score": round(float(score), 4), "box": box} for box, text, score in found or ()]
        return {"text": "\n".join(str(line["text"]) for line in lines), "lines": lines}


def best_recognizer(threads: int) -> tuple[Recognizer, str]:
    """Return the best recognizer that can be loaded, and a note on what is missing for a better one."""
    try:
        return TextReader(threads), ""
    except ModuleNotFoundError as error:
        if error.name == "rapidocr_onnxruntime":
            return HeaderReader(), f"to recognize text, {INSTALL}"
        return HeaderReader(), f"no text recognition: the module {error.name} is missing"
    except ImportError as error:  # libGL.so.1, which OpenCV needs, is missing on servers
        return HeaderReader(), f"no text recognition: {error}; {LIBRARIES}"
