"""The `Date` of replies that have none, as RFC 9110 section 6.6.1 asks of whoever passes them on and has a clock."""

import time
from collections.abc import Callable
from email.utils import formatdate


class DateField:
    """The field's line, made at most once a second; `now` is monotonic."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._line = b""
        self._made_anew_at = 0.0

    def line(self, now: float) -> bytes:
        """The line, its CRLF included; a wall clock that is set is followed within a second."""
        if now >= self._made_anew_at or not self._line:
            wall = self._wall()
            self._made_anew_at = now + 1 - wall % 1
            self._line = f"Date: {formatdate(int(wall), usegmt=True)}\r\n".encode("ascii")
        return self._line
