"""The event loop of the bench's own processes: uvloop where it is installed, for it takes less of the machine."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

try:
    from uvloop import new_event_loop
except ImportError:
    from asyncio import new_event_loop

T = TypeVar("T")


def run(main: Coroutine[object, object, T]) -> T:
    """Run to the end."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)
