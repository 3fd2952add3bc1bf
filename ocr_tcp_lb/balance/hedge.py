"""How long a silent backend is waited for before another one is asked, too (`--hedge`).

Not before 3 times the longest service time of late, and 1 s: with 1.5 times, requests that were merely large were sent
twice, and took the slots of others. What a backend that was given up on takes in the end is to be noted as well, or
the longest of late would never become longer.
"""

import math

TIMES_LONGEST = 3.0
LEAST_S = 1.0
REMEMBERED = 100  # the longest is that of the last 100 to 200 replies: one slow start is forgotten, however few come


class Patience:
    """The longest service time of late."""

    __slots__ = ("_before_s", "_count", "_longest_s")

    def __init__(self) -> None:
        self._longest_s = 0.0
        self._before_s = 0.0  # the longest of the replies before those that are counted
        self._count = 0

    def note(self, service_s: float) -> None:
        """Take in how long a reply took."""
        if self._count == REMEMBERED:
            self._before_s, self._longest_s, self._count = self._longest_s, 0.0, 0
        self._longest_s = max(self._longest_s, service_s)
        self._count += 1

    @property
    def limit_s(self) -> float:
        """How much silence is unusual, in seconds; infinite before the first reply."""
        longest_s = max(self._longest_s, self._before_s)
        return max(LEAST_S, TIMES_LONGEST * longest_s) if longest_s else math.inf
