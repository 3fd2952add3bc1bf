"""How a coroutine waits for sockets: one reusable `Wakeup` a connection, any number of `Channel`s that fire it.

A `Channel` is a non-blocking stream socket that remembers whether the kernel would take or give bytes. Its
methods act at once or say "not now"; only `Wakeup` is ever awaited. State lives in the flags, not in the
wake-up: a coroutine looks at its channels, moves what it can, and waits when nothing can move. So a wake-up too
many does no harm, and none is lost, because callbacks never run while a coroutine does.

Measured (CPU of the whole request, 1 KB GET): 33 us with this wake-up, 40 us with a fresh future a wait.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Generator, Sequence
from contextvars import Context
from typing import Any, Protocol

Buffer = bytes | memoryview


class Fires(Protocol):
    """Something that is told when a channel turns readable or writable."""

    def fire(self) -> None:
        """React, inside a callback of the loop."""


class Wakeup:
    """What one task waits on, again and again: awaitable by exactly one task at a time.

    It speaks the protocol that `asyncio.Task` expects of a future (`_asyncio_future_blocking`,
    `add_done_callback`, `result`, `cancel`), so a task may await it; unlike a future it can be used again, and it
    runs the waiting task inside the very event that wakes it instead of one loop iteration later.
    """

    __slots__ = ("_asyncio_future_blocking", "_loop", "_resume")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._resume: Callable[[Any], object] | None = None
        self._asyncio_future_blocking = False

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def fire(self) -> None:
        """Run the waiting task now; only from a callback of the loop, never from inside a task."""
        resume = self._resume
        if resume is not None:
            self._resume = None
            resume(self)

    def fire_soon(self) -> None:
        """Run the waiting task in the next loop iteration; from anywhere in the loop's thread."""
        self._loop.call_soon(self.fire)

    # The future protocol, called by asyncio.Task only.
    def add_done_callback(self, resume: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Remember how to run the waiting task."""
        self._resume = resume

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Name the loop, so that a task of another loop is refused by asyncio."""
        return self._loop

    def result(self) -> None:
        """Give the value of the await: none."""

    def cancel(self, msg: object = None) -> bool:
        """Wake the task; it raises CancelledError itself, because it is told that nothing was cancelled here."""
        self.fire_soon()
        return False


class Channel:
    """A non-blocking stream socket, its readiness flags, and the wake-up that is fired when they turn true.

    `readable` and `writable` mean "worth trying". A reader stays registered with the loop until it fires twice
    without anybody taking bytes (backpressure, or bytes that nobody wants yet): registering and unregistering
    for each wait would cost two `epoll_ctl` calls a request. The owner of the wake-up may change (a pooled
    backend connection serves one exchange after the other).
    """

    __slots__ = ("_loop", "_reading", "_writing", "fd", "readable", "sock", "wakeup", "writable")

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, wakeup: Fires) -> None:
        self._loop = loop
        self.sock = sock
        self.fd = sock.fileno()
        self.wakeup = wakeup
        self.readable = False
        self.writable = True
        self._reading = False
        self._writing = False

    def __repr__(self) -> str:
        flags = "".join(letter for letter, on in (("r", self.readable), ("w", self.writable)) if on)
        return f"<Channel fd={self.fd} {flags or '-'}>"

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self.fd < 0

    def receive_into(self, view: memoryview) -> int | None:
        """Read at once what is there: its length, 0 at the end of the stream, None for "not now".

        Raises OSError (ECONNRESET and the like) when the connection broke.
        """
        try:
            received = self.sock.recv_into(view)
        except BlockingIOError:
            self.readable = False
            return None
        # A short read has emptied the socket; the level-triggered loop reports what comes later.
        if received < len(view):
            self.readable = False
        return received

    def send(self, data: Buffer) -> int:
        """Send at once as much as the kernel takes; fewer bytes than given means "not now" for the rest."""
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            self.writable = False
            return 0
        if sent < len(data):
            self.writable = False
        return sent

    def send_all_of(self, pieces: Sequence[Buffer]) -> int:
        """Send pieces with one system call; returns how many bytes of them went."""
        try:
            return self.sock.sendmsg(pieces)
        except BlockingIOError:
            self.writable = False
            return 0

    def want_read(self) -> None:
        """Have the wake-up fired when bytes (or an end, or an error) are there."""
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self.fd, self._on_readable)

    def want_write(self) -> None:
        """Have the wake-up fired, once, when the kernel takes bytes again."""
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self.fd, self._on_writable)

    def _on_readable(self) -> None:
        if self.readable:  # nobody took the last news
            self._loop.remove_reader(self.fd)
            self._reading = False
            return
        self.readable = True
        self.wakeup.fire()

    def _on_writable(self) -> None:
        self._loop.remove_writer(self.fd)
        self._writing = False
        self.writable = True
        self.wakeup.fire()

    def finish_sending(self) -> None:
        """Send FIN: no more bytes from us (half-close)."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # already gone: its reader will say so

    def connection_error(self) -> OSError | None:
        """The pending error of the socket, such as the outcome of a non-blocking connect."""
        code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return OSError(code, os.strerror(code)) if code else None

    def close(self) -> None:
        """Close the socket; safe to call twice."""
        if self.fd < 0:
            return
        if self._reading:
            self._loop.remove_reader(self.fd)
        if self._writing:
            self._loop.remove_writer(self.fd)
        self._reading = self._writing = False
        self.fd = -1
        self.sock.close()
