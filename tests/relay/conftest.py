"""Every asynchronous test of the relay runs on both event loops, in both lanes, and leaves nothing behind."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from .support import House, open_descriptors

try:
    import uvloop
except ImportError:  # a platform without it
    FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
else:
    FACTORIES = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return FACTORIES


@pytest.fixture(params=[True, False], ids=["express", "general"])
async def house(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> AsyncIterator[House]:
    """The cast of a test; afterwards slots, memory, pipes and descriptors are as they were, and no error was logged."""
    before = open_descriptors()
    house = House()
    house.express = request.param
    try:
        yield house
    finally:
        await house.close()
    left = open_descriptors().keys() - before.keys()
    if left:
        gc.collect()  # a socket in a traceback that nobody holds any more
        left = open_descriptors().keys() - before.keys()
    assert not left, f"descriptors were left open: {left}"
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert not errors, f"errors were logged: {errors}"
