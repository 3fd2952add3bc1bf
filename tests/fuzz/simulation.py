"""A network and an event loop of the imagination: no kernel, no waiting, and every order of events can happen.

`Loop` stands in for asyncio's where the relay uses it: readers, writers, timers, `call_soon`. Its clock jumps to the
next timer when nothing else can happen. `Socket` behaves as a TCP socket of Linux does, with small buffers that take
a random part of what is sent. One `random.Random` decides everything, so a seed is a whole history.
"""

import errno
import heapq
import itertools
import random
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence

TCP_ESTABLISHED, TCP_CLOSE, TCP_CLOSE_WAIT = 1, 7, 8  # net/tcp_states.h

Callback = Callable[[], object]
_numbers = itertools.count(1_000_000)  # of descriptors


class Handle:
    """A timer."""

    __slots__ = ("callback", "is_cancelled")

    def __init__(self, callback: Callback) -> None:
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """The part of asyncio's loop that the relay needs, on a clock of its own."""

    def __init__(self, chance: random.Random) -> None:
        self.now = 1000.0
        self.sockets: dict[int, Socket | Epoll] = {}  # those of the balancer, by descriptor
        self._chance = chance
        self._readers: dict[int, Callback] = {}
        self._writers: dict[int, Callback] = {}
        self._soon: deque[Callback] = deque()
        self._timers: list[tuple[float, int, Handle]] = []
        self._count = itertools.count()

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callback) -> None:
        self._soon.append(callback)

    def call_later(self, delay_s: float, callback: Callback) -> Handle:
        return self.call_at(self.now + delay_s, callback)

    def call_at(self, when: float, callback: Callback) -> Handle:
        handle = Handle(callback)
        heapq.heappush(self._timers, (when, next(self._count), handle))
        return handle

    def add_reader(self, fd: int, callback: Callback) -> None:
        assert fd in self.sockets, "a closed socket is registered"
        self._readers[fd] = callback

    def add_writer(self, fd: int, callback: Callback) -> None:
        assert fd in self.sockets, "a closed socket is registered"
        self._writers[fd] = callback

    def remove_reader(self, fd: int) -> None:
        self._readers.pop(fd, None)

    def remove_writer(self, fd: int) -> None:
        self._writers.pop(fd, None)

    def turn(self) -> bool:
        """One iteration; False if nothing was there to do."""
        sockets = self.sockets
        due: list[tuple[dict[int, Callback], int]] = []
        due += [(self._readers, fd) for fd in self._readers if sockets[fd].is_readable]
        due += [(self._writers, fd) for fd in self._writers if sockets[fd].is_writable]
        if len(due) > 1:
            self._chance.shuffle(due)
        soon, self._soon = self._soon, deque()
        for callback in soon:
            callback()
        for callbacks, fd in due:
            event = callbacks.get(fd)
            if event is not None and fd in sockets:
                event()
        return bool(due or soon)

    def jump(self) -> bool:
        """Let time pass until the next timer, and run it; False if there is none."""
        while self._timers:
            when, _, handle = heapq.heappop(self._timers)
            if not handle.is_cancelled:
                self.now = max(self.now, when)
                handle.callback()
                return True
        return False


class Epoll:
    """Stands in for `select.epoll` where it watches for bytes to read."""

    is_writable = False

    def __init__(self, loop: Loop, chance: random.Random) -> None:
        self._loop = loop
        self._chance = chance
        self._fd = next(_numbers)
        self._registered: set[int] = set()
        self.closed = False
        loop.sockets[self._fd] = self

    def fileno(self) -> int:
        return self._fd

    def register(self, fd: int, events: int) -> None:
        assert fd in self._loop.sockets, "a closed socket is registered"
        if fd in self._registered:
            raise FileExistsError(errno.EEXIST, "registered")
        self._registered.add(fd)

    def unregister(self, fd: int) -> None:
        if fd not in self._registered:
            raise FileNotFoundError(errno.ENOENT, "not registered")
        self._registered.remove(fd)

    def _ready(self) -> list[int]:
        sockets = self._loop.sockets
        self._registered &= sockets.keys()  # closing ends it
        return [fd for fd in sorted(self._registered) if sockets[fd].is_readable]

    @property
    def is_readable(self) -> bool:
        return bool(self._ready())

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        ready = self._ready()
        self._chance.shuffle(ready)
        return [(fd, select.EPOLLIN) for fd in ready[:most]]

    def close(self) -> None:
        self.closed = True
        del self._loop.sockets[self._fd]


class Pipe:
    """Stands in for `splice.Pipe` between simulated sockets."""

    def __init__(self, loop: Loop, chance: random.Random) -> None:
        self._loop = loop
        self._chance = chance
        self._bytes = bytearray()
        self._capacity = chance.choice((100, 3_000, 100_000))

    @property
    def fill(self) -> int:
        return len(self._bytes)

    def _take(self, data: bytes | bytearray) -> int:
        room = self._capacity - len(self._bytes)
        self._bytes += data[:room]
        return min(room, len(data))

    def fill_from(self, fd: int, most: int) -> int:
        room = self._capacity - len(self._bytes)
        if room <= 0:
            raise BlockingIOError
        source = self._loop.sockets[fd]
        assert isinstance(source, Socket)
        if self._chance.random() < 0.3:
            room = self._chance.randint(1, room)
        return self._take(source.recv(min(most, room)))

    def write(self, pieces: Sequence[bytes]) -> None:
        self._take(b"".join(pieces))

    def tee_from(self, other: "Pipe") -> None:
        self._take(other._bytes)

    def read(self) -> bytes:
        data = bytes(self._bytes)
        self._bytes.clear()
        return data

    def drain_into(self, fd: int) -> int:
        sink = self._loop.sockets.get(fd)  # else it is the null device
        assert sink is None or isinstance(sink, Socket)
        sent = len(self._bytes) if sink is None else sink.send(bytes(self._bytes))
        del self._bytes[:sent]
        return sent

    def close(self) -> None:
        self._bytes.clear()


class Socket:
    """One end of a connection, non-blocking."""

    family = socket.AF_INET

    def __init__(self, loop: Loop, chance: random.Random, *, is_balancers: bool = False) -> None:
        self._loop = loop
        self._chance = chance
        self._fd = next(_numbers)
        self._received = bytearray()
        self._capacity = chance.choice((64, 700, 20_000, 20_000, 20_000))
        self._has_fin = self._has_sent_fin = self._resets_on_close = False
        self.is_closed = False
        self._error = 0
        self._is_dead = False  # a reset came or went
        self.peer: Socket | None = None
        self.is_balancers = is_balancers
        if is_balancers:
            loop.sockets[self._fd] = self

    def join(self, other: "Socket") -> None:
        """Connect the two."""
        self.peer, other.peer = other, self

    def fail(self, code: int) -> None:
        """The connect comes to nothing."""
        self._error = code
        self._is_dead = True

    def fileno(self) -> int:
        return self._fd

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def setsockopt(self, level: int, option: int, value: object) -> None:
        if option == socket.SO_LINGER:
            self._resets_on_close = True

    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        if size:  # TCP_INFO, of which only the state is known: nothing can be proven about bytes
            return bytes((TCP_CLOSE if self._is_dead else TCP_CLOSE_WAIT if self._has_fin else TCP_ESTABLISHED,))
        code, self._error = self._error, 0
        return code

    @property
    def is_readable(self) -> bool:
        return bool(self._received) or self._has_fin or self._is_dead

    def unread_bytes(self) -> int:
        return len(self._received)

    def unsent_bytes(self) -> int:
        return self._chance.choice((0, 0, 5))  # acknowledgements may be on their way

    @property
    def is_writable(self) -> bool:
        if self._is_dead:
            return True
        return self.peer is not None and (self.peer.is_closed or len(self.peer._received) < self.peer._capacity)

    def recv(self, size: int, flags: int = 0) -> bytes:
        if self.is_closed:
            raise OSError(errno.EBADF, "closed")
        if not self._received:
            if self._has_fin:  # whatever came behind it: Linux looks at SOCK_DONE before the error
                return b""
            if self._error:
                raise self._raise()
            if self._is_dead:
                return b""
            raise BlockingIOError
        data = bytes(self._received[:size])
        if not flags & socket.MSG_PEEK:
            del self._received[: len(data)]
        return data

    def recv_into(self, view: memoryview) -> int:
        data = self.recv(len(view))
        view[: len(data)] = data
        return len(data)

    def send(self, data: bytes | memoryview) -> int:
        peer = self.peer
        if self.is_closed:
            raise OSError(errno.EBADF, "closed")
        if self._error:
            raise self._raise()
        if self._is_dead or self._has_sent_fin:
            raise BrokenPipeError(errno.EPIPE, "broken pipe")
        assert peer is not None, "not connected"
        if peer.is_closed:
            self._reset()  # as the answer of its kernel
            return len(data)
        room = peer._capacity - len(peer._received)
        if room <= 0:
            raise BlockingIOError
        if room > 1 and self._chance.random() < 0.3:
            room = self._chance.randint(1, room)
        peer._received += data[:room]
        return min(room, len(data))

    def sendmsg(self, pieces: Sequence[bytes | memoryview]) -> int:
        return self.send(b"".join(pieces))

    def push(self, data: bytes) -> None:
        """Send all of it in one packet, whatever the window."""
        assert self.peer is not None
        if not (self._is_dead or self.peer.is_closed):
            self.peer._received += data

    def shutdown(self, how: int) -> None:
        if self._is_dead or self.is_closed:
            raise OSError(errno.ENOTCONN, "not connected")
        self._has_sent_fin = True
        if self.peer is not None and not self.peer.is_closed:
            self.peer._has_fin = True

    def close(self) -> None:
        """FIN; or a reset where one was asked for, or bytes were left unread."""
        if self.is_closed:
            return
        self.is_closed = True
        self._loop.sockets.pop(self._fd, None)
        peer = self.peer
        if peer is None or peer.is_closed or self._is_dead:
            return
        if self._resets_on_close or self._received:
            peer._reset()
        else:
            peer._has_fin = True

    def reset(self) -> None:
        """Close with a reset."""
        self._resets_on_close = True
        self.close()

    def _reset(self) -> None:
        """A reset came; what was received before stays readable, as on Linux."""
        if not self._is_dead:
            self._error = errno.EPIPE if self._has_fin else errno.ECONNRESET
            self._is_dead = True

    def _raise(self) -> OSError:
        code, self._error = self._error, 0
        return OSError(code, errno.errorcode[code])

    def getpeername(self) -> tuple[str, int]:
        return "192.0.2.1", 1234

    def getsockname(self) -> tuple[str, int]:
        return "192.0.2.2", 4999
