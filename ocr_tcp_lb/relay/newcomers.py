"""A small poller for sockets that may not stay for long: those of clients that have only just connected.

uvloop is made for sockets that stay. To have it watch one for readability takes four `epoll_ctl` and an `ioctl` until
the socket is closed, and two objects. Here it is one `epoll_ctl`, and closing the socket ends it; whoever stays
moves on to the loop after its first request, because every look here is a system call of its own. Measured: 11 % of
the CPU of a connection for one request (`python -m bench --workloads connect-1k`).
"""

import asyncio
import select
from collections.abc import Callable
from contextlib import suppress
from typing import Final

MOST_A_LOOK: Final = 64


class Newcomers:
    """Calls back when a socket is readable, as `add_reader` of the loop does, in which it is one reader itself."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        loop.add_reader(self._epoll.fileno(), self._look)

    def __len__(self) -> int:
        return len(self._callbacks)

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """Call `callback` whenever the socket has something to read, until `remove_reader`."""
        self._callbacks[fd] = callback
        with suppress(FileExistsError):  # it was removed a moment ago, and nothing came since then
            self._epoll.register(fd, select.EPOLLIN)

    def remove_reader(self, fd: int) -> None:
        """Call back no more. Mostly the socket is closed now, of which the kernel knows by itself: see `_look`."""
        del self._callbacks[fd]

    def _look(self) -> None:
        callbacks = self._callbacks
        for fd, _ in self._epoll.poll(0, MOST_A_LOOK):
            callback = callbacks.get(fd)
            if callback is not None:
                callback()
            else:
                self._forget(fd)

    def _forget(self, fd: int) -> None:
        with suppress(OSError):  # it was closed since the kernel told of it
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Watch nobody any more; safe to call twice."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
