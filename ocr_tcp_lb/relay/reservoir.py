"""The bulk of a request's body, left in the kernel: in pipes, out of which every attempt gets it without a copy.

What a client on this machine sends of a scan is mostly all there by the time that its head was read. `splice` moves it
into pipes, where it waits for a backend; `tee` gives each attempt its own, because the first one may fail. Measured,
300 KB by 64 clients: 71 us of CPU instead of 98 in slabs, out of which the kernel copies once more.

No bytes are copied, so a client that itself sends without copies (sendfile(2)) and changes its file while the request
waits has changed the request, as it would with a backend that reads slowly.
"""

import os
from collections.abc import Sequence
from typing import Final

from ocr_tcp_lb.config import KIB
from ocr_tcp_lb.relay.buffers import Slabs
from ocr_tcp_lb.relay.failures import SinkBroke
from ocr_tcp_lb.relay.readiness import Buffer, Channel
from ocr_tcp_lb.relay.splice import HAS_TEE, PAGE_BYTES, PIPE_BYTES, Pipe, Pipes

SMALLEST_BYTES: Final = 128 * KIB  # below, slabs take as much or less
STORE_BYTES: Final = 64 * PAGE_BYTES  # of slots, each for a piece of what was sent: 1 MB, on the loopback
FRONT_BYTES: Final = PIPE_BYTES - STORE_BYTES  # the rest of the slots, in the pipe for an attempt
MOST_STORES: Final = 96
FULL_BYTES: Final = STORE_BYTES  # one that holds less when it is full was sent in small pieces: the rest is for slabs


class Reservoir:
    """What one body has in its pipes; the memory counts as the slabs' until `close`."""

    __slots__ = ("_next", "_owner", "_passage", "_stores", "copy", "sent", "size")

    def __init__(self, owner: "Reservoirs", store: Pipe) -> None:
        self._owner = owner
        self._stores = [store]
        self._next = 0  # which of them the present attempt gets next
        self.copy = b""  # the contents, once there was no second pipe to be had
        self.size = 0
        self._passage: Pipe | None = None  # what the backend of the present attempt did not take yet
        self.sent = 0  # bytes that it took, those in front included

    @property
    def is_left(self) -> bool:
        """Whether the backend of the present attempt did not take all of it yet."""
        return self._passage is not None

    def take_in(self, client: Channel, most: int) -> int:
        """Move what is there from the client, before any attempt; returns how many bytes fitted in."""
        slabs, moved = self._owner.slabs, 0
        if not slabs.reserve(most):
            return 0
        try:
            while moved < most and (got := self._fill_from(client, most - moved)):
                moved += got
        except OSError:
            pass  # the pipes are full, or the socket cannot be spliced, or it broke: a read will say so
        slabs.release(most - moved)
        self.size += moved
        return moved

    def _fill_from(self, client: Channel, most: int) -> int:
        """Move what fits into the last store, or a new one behind it; raises OSError when neither has room."""
        store = self._stores[-1]
        try:
            return store.fill_from(client.fd, most)
        except BlockingIOError:
            if store.fill < FULL_BYTES or (another := self._owner.stores.borrow()) is None:
                raise
            self._stores.append(another)
            return another.fill_from(client.fd, most)

    def start(self, front: Sequence[Buffer]) -> bool:
        """Begin an attempt: the front, of at most FRONT_BYTES, then the contents.

        False: there was no second pipe to be had, and the contents are in `copy` now.
        """
        self._close_passage()
        self.sent = self._next = 0
        if not self._stores:
            return False
        if self._fill_passage(front):
            return True
        self.copy = b"".join([store.read() for store in self._stores])
        for store in self._stores:
            self._owner.stores.give_back(store)
        self._stores.clear()
        return False

    def _fill_passage(self, front: Sequence[Buffer]) -> bool:
        passage = self._owner.pipes.borrow()
        if passage is None:
            return False
        passage.write(front)
        is_whole = passage.fill == sum(map(len, front)) and self._tee_next(passage)
        self._passage = passage
        if not is_whole:
            self._close_passage()
        return is_whole

    def _tee_next(self, passage: Pipe) -> bool:
        """Put the next store's contents behind what is in the passage; whether all of them found room."""
        wanted = passage.fill + self._stores[self._next].fill
        passage.tee_from(self._stores[self._next])
        self._next += 1
        return passage.fill == wanted

    def pour(self, backend: Channel) -> None:
        """Send what is left, as far as the backend takes it; raises SinkBroke."""
        passage = self._passage
        if passage is None:
            return
        try:
            while True:
                while passage.fill:
                    self.sent += passage.drain_into(backend.fd)
                if self._next == len(self._stores):
                    break
                if not self._tee_next(passage):  # an empty passage has room for any store
                    raise OSError("tee failed")
        except BlockingIOError:
            backend.writable = False
        except OSError as error:
            raise SinkBroke(str(error)) from error
        else:
            self._close_passage()

    def _close_passage(self) -> None:
        if self._passage is not None:
            self._owner.pipes.give_back(self._passage)
            self._passage = None

    def close(self) -> None:
        """Give everything back."""
        self._close_passage()
        self._owner.slabs.release(self.size)
        self.copy = b""
        self.size = 0
        for store in self._stores:
            self._owner.empty(store)
        self._stores.clear()


class Reservoirs:
    """Makes reservoirs, as many as there are pipes for."""

    def __init__(self, pipes: Pipes, slabs: Slabs, most: int = MOST_STORES if HAS_TEE else 0) -> None:
        self.pipes = pipes
        self.slabs = slabs
        self.stores = Pipes(most, STORE_BYTES)
        self._null_fd = -1

    def new(self) -> Reservoir | None:
        """An empty one; None when there is no pipe to be had."""
        store = self.stores.borrow()
        return Reservoir(self, store) if store is not None else None

    def empty(self, store: Pipe) -> None:
        """Throw away what is in a store, and take it back."""
        try:
            if self._null_fd < 0:
                self._null_fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            store.drain_into(self._null_fd)
        except OSError:
            pass  # out of descriptors, or there is no such device: it is closed, as it is given back with bytes in it
        self.stores.give_back(store)

    def close(self) -> None:
        """Close all pipes that are not in use."""
        self.stores.close()
        if self._null_fd >= 0:
            os.close(self._null_fd)
            self._null_fd = -1
