"""Which event loop runs the relay: uvloop where it can be imported, else the one of the standard library.

Both drive the same code through `add_reader`/`add_writer`; on raw sockets they were measured within 10 %.
"""

import asyncio
from collections.abc import Callable

from ocr_tcp_lb.config import LoopName
from ocr_tcp_lb.errors import LoadBalancerError

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class LoopUnavailable(LoadBalancerError):
    """The loop that was asked for by name is not installed."""


def choose_loop(name: LoopName) -> tuple[str, LoopFactory]:
    """The loop's name for messages, and how to make it.

    `auto` takes uvloop if it is there. Raises LoopUnavailable when `uvloop` is demanded and missing.
    """
    if name != "asyncio":
        try:
            import uvloop
        except ImportError as error:
            if name == "uvloop":
                raise LoopUnavailable(
                    "--loop uvloop: uvloop is not installed; `pip install uvloop`, or use --loop asyncio"
                ) from error
        else:
            return "uvloop", uvloop.new_event_loop
    return "asyncio", asyncio.new_event_loop
