"""Judges what comes back: an HTTP reply or a WebSocket message, each whole and as the workload says, or what is wrong.

`feed` takes bytes as they come and says whether the reply is whole; then `error` is empty, or says what is wrong.
"""

import re

from bench.messages import REPLY_BYTES, echo
from bench.workloads import Workload

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class HttpReply:
    """A 200 of the expected length that confirms the bytes sent."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._confirmation = b'{"received": %d,' % workload.body_bytes
        self.begin()

    def begin(self) -> None:
        """Expect the next one."""
        self.error = ""
        self.closes = False
        self._start = b""  # its head, and as much of its body as is looked at
        self._in_head = True
        self._left = 0  # bytes of the body still to come

    def feed(self, data: bytes) -> bool:
        """Take what came; True when the reply is whole."""
        if self._in_head:
            self._start += data
            end = self._start.find(b"\r\n\r\n")
            if end < 0:
                return False
            self._judge_head(self._start[: end + 2])
            self._left -= len(self._start) - end - 4
        else:
            self._left -= len(data)
            if len(self._start) < REPLY_BYTES:
                self._start += data
        if self._left > 0:
            return False
        if not self.error and self._left < 0:
            self.error = "bytes after the reply"
        if not self.error and self._confirmation not in self._start:
            self.error = "not all of the body arrived"
        return True

    def _judge_head(self, head: bytes) -> None:
        self._in_head = False
        length = _LENGTH.search(head)
        self._left = int(length[1]) if length else 0
        self.closes = bool(_CLOSE.search(head))
        if b" 200 " not in head[:13]:
            self.error = head[: head.index(b"\r\n")].decode("latin-1")
        elif self._left != self._workload.reply_bytes:
            self.error = f"a reply of {self._left} bytes instead of {self._workload.reply_bytes}"


class Echo:
    """The message that was sent, as a service sends it."""

    closes = False

    def __init__(self, size: int) -> None:
        self._expected = echo(size)
        self.begin()

    def begin(self) -> None:
        """Expect the next one."""
        self.error = ""
        self._came = b""

    def feed(self, data: bytes) -> bool:
        """Take what came; True when the message is whole."""
        self._came += data
        if len(self._came) < len(self._expected):
            return False
        if self._came != self._expected:
            self.error = "another message than was sent"
        return True
