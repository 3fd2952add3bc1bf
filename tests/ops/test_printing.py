"""Printing to whoever reads, has left, or has no room."""

import os

import pytest

from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.ops.printing import harmless, put


def test_text_is_printed_as_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert put("a\nb")
    assert capsys.readouterr().out == "a\nb\n"


def test_reader_that_has_left_is_told_of_and_no_fault() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as out:
        assert not put("a", out)
        assert put("b", out)  # nowhere


def test_full_disk_is_an_error_in_words() -> None:
    with open("/dev/full", "w", encoding="ascii") as out, pytest.raises(LoadBalancerError, match=r"No space left"):
        put("a", out)


def test_what_others_say_cannot_fool_a_terminal() -> None:
    assert harmless("\x1b]0;x\x07 \ud800\r\n\x9bJ ä") == "\\x1b]0;x\\x07 \\ud800\\r\n\\x9bJ ä"
