"""Pipes for `os.splice`: bytes go from socket to socket inside the kernel, without a copy into this process.

A pipe is borrowed while it holds bytes and given back empty, so slow streams hold none. A pipe that still holds
bytes when its flow dies is closed: it must never be lent to somebody else.

Measured, 4 MB upload: 905 us of CPU through a pipe of 1 MiB, 1,430 us by copying, 1,350 us through one of 64 KiB.
The kernel lets unprivileged users have 64 MiB of pipe pages in all (`pipe-user-pages-soft`), therefore few pipes;
whoever gets none copies.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Sequence

from ocr_tcp_lb.config import KIB, MIB
from ocr_tcp_lb.relay.readiness import Buffer

HAS_SPLICE = hasattr(os, "splice") and hasattr(fcntl, "F_SETPIPE_SZ")
PAGE_BYTES = 4 * KIB  # how the kernel counts a pipe's slots, though what is spliced into one may be longer
PIPE_BYTES = MIB
SMALLEST_SPLICE_BYTES = 64 * KIB  # below this the two extra system calls cost more than the copy
MOST_PIPES = 32


def _find_tee() -> Callable[[int, int, int, int], int] | None:
    """tee(2), which `os` does not have: -1 where `os` would raise. None where a sandbox keeps it, or ctypes, away."""
    if not HAS_SPLICE:
        return None
    try:
        import ctypes  # here, because a process that may not write code may not have it (libffi before 3.4)

        tee = ctypes.CDLL(None, use_errno=True).tee
    except (ImportError, MemoryError, OSError, AttributeError):
        return None
    tee.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint)
    tee.restype = ctypes.c_ssize_t
    tee(-1, -1, 1, 0)
    return tee if ctypes.get_errno() == errno.EBADF else None


_tee = _find_tee()
HAS_TEE = _tee is not None


class Pipe:
    """One pipe and how many bytes are in it."""

    __slots__ = ("fill", "read_fd", "write_fd")

    def __init__(self, size: int = PIPE_BYTES) -> None:
        """Make the pipe; raises OSError when the system refuses it at this size."""
        self.fill = 0
        self.read_fd, self.write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.fcntl(self.write_fd, fcntl.F_SETPIPE_SZ, size)
        except OSError:
            self.close()
            raise

    def fill_from(self, fd: int, most: int) -> int:
        """Move bytes from a socket into the pipe; 0 at its end. Raises BlockingIOError, OSError."""
        moved = os.splice(fd, self.write_fd, min(most, PIPE_BYTES), flags=os.SPLICE_F_NONBLOCK)
        self.fill += moved
        return moved

    def write(self, pieces: Sequence[Buffer]) -> None:
        """Put bytes of this process in, as many as there is room for."""
        try:
            self.fill += os.writev(self.write_fd, pieces)
        except BlockingIOError:
            pass

    def tee_from(self, other: "Pipe") -> None:
        """Put in what is in the other pipe, too, without a copy, as much as there is room for."""
        assert _tee is not None, "see HAS_TEE"
        self.fill += max(0, _tee(other.read_fd, self.write_fd, other.fill, os.SPLICE_F_NONBLOCK))

    def read(self) -> bytes:
        """Take everything out, into this process."""
        pieces: list[bytes] = []
        while self.fill:
            pieces.append(os.read(self.read_fd, self.fill))
            self.fill -= len(pieces[-1])
        return b"".join(pieces)

    def drain_into(self, fd: int) -> int:
        """Move bytes from the pipe into a socket or device. Raises BlockingIOError, OSError."""
        moved = os.splice(self.read_fd, fd, self.fill, flags=os.SPLICE_F_NONBLOCK)
        self.fill -= moved
        return moved

    def close(self) -> None:
        """Close both ends."""
        os.close(self.read_fd)
        os.close(self.write_fd)


class Pipes:
    """A pool of pipes of one size."""

    def __init__(self, most: int = MOST_PIPES if HAS_SPLICE else 0, size: int = PIPE_BYTES) -> None:
        self._most = most
        self._size = size
        self._made = 0
        self._free: list[Pipe] = []

    def borrow(self) -> Pipe | None:
        """An empty pipe, or None when there is none to be had: then copy."""
        if self._free:
            return self._free.pop()
        if self._made >= self._most:
            return None
        try:
            pipe = Pipe(self._size)
        except OSError as error:
            if error.errno == errno.EPERM:  # over the user's limit of pipe pages: this many is all there will be
                self._most = self._made
            return None  # also out of descriptors: try again another time
        self._made += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """Take a pipe back; one that still holds bytes is closed."""
        if pipe.fill:
            self._made -= 1
            pipe.close()
        else:
            self._free.append(pipe)

    def close(self) -> None:
        """Close every pipe that is not lent out."""
        for pipe in self._free:
            pipe.close()
        self._free.clear()
