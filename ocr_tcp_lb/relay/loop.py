"""Which event loop runs the relay: uvloop where it can be imported, else the one of the standard library.

Both drive the same code, mostly through the one descriptor of `poller`.
"""

import asyncio
from collections.abc import Callable

from ocr_tcp_lb.config import LoopName
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.relay.poller import HAS_EPOLL

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class LoopUnavailable(LoadBalancerError):
    """The loop that was asked for by name cannot be had."""


def choose_loop(name: LoopName) -> tuple[str, LoopFactory]:
    """The loop's name for messages, and how to make it.

    `auto` takes uvloop if it is there, but not where there is no epoll: libuv tells of a reset that came with bytes
    only once. Raises LoopUnavailable when `uvloop` is demanded and cannot be had.
    """
    if name == "uvloop" and not HAS_EPOLL:
        raise LoopUnavailable("--loop uvloop: it needs epoll, which this system has not; use --loop asyncio")
    if name != "asyncio" and HAS_EPOLL:
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
