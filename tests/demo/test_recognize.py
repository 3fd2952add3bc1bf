import builtins
import re
import time
from typing import Any

import pytest

from ocr_tcp_lb.demo.recognize import HeaderReader, best_recognizer


@pytest.mark.parametrize(("size_bytes", "seconds"), [(0, 0.05), (2 * 1024**2, 0.175), (64 * 1024**2, 0.3)])
def test_header_reader_takes_longer_for_larger_images(
    monkeypatch: pytest.MonkeyPatch, size_bytes: int, seconds: float
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    found = HeaderReader().read(bytes(size_bytes))
    assert slept == [pytest.approx(seconds)]
    assert "demo worker" in found["text"]
    assert found["lines"] == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModuleNotFoundError("no", name="rapidocr_onnxruntime"), "install the extra `ocr`"),
        (ModuleNotFoundError("no", name="cv2"), "the module cv2 is missing"),
        (ImportError("libGL.so.1: cannot open shared object file"), "libGL.so.1: .*apt-get install libgl1"),
    ],
)
def test_models_that_cannot_be_loaded_leave_the_header_reader_and_a_note(
    monkeypatch: pytest.MonkeyPatch, error: ImportError, told: str
) -> None:
    real_import = builtins.__import__

    def failing_import(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "rapidocr_onnxruntime":
            raise error
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", failing_import)
    recognizer, note = best_recognizer(threads=1)
    assert isinstance(recognizer, HeaderReader)
    assert re.search(told, note)
