"""Which event loop is taken."""

import asyncio
import sys

import pytest

from ocr_tcp_lb.relay.loop import LoopUnavailable, choose_loop


def test_stdlib_loop_is_taken_when_asked_for() -> None:
    name, factory = choose_loop("asyncio")
    assert (name, factory) == ("asyncio", asyncio.new_event_loop)


def test_uvloop_is_taken_where_it_is_installed() -> None:
    uvloop = pytest.importorskip("uvloop")
    for asked in ("auto", "uvloop"):
        assert choose_loop(asked) == ("uvloop", uvloop.new_event_loop)  # type: ignore[arg-type]


def test_uvloop_is_not_taken_where_there_is_no_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocr_tcp_lb.relay.loop.HAS_EPOLL", False)
    assert choose_loop("auto")[0] == "asyncio"
    with pytest.raises(LoopUnavailable, match="use --loop asyncio"):
        choose_loop("uvloop")


def test_without_uvloop_auto_falls_back_and_uvloop_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert choose_loop("auto")[0] == "asyncio"
    with pytest.raises(LoopUnavailable, match="pip install uvloop"):
        choose_loop("uvloop")
