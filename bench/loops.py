"""The event loop of the bench's own processes: uvloop where it is installed, for it takes less of the machine."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeVar

try:
    import uvloop
except ImportError:
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
else:
    new_event_loop = uvloop.new_event_loop

T = TypeVar("T")


def run(main: Coroutine[object, object, T]) -> T:
    """Run to the end."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)
