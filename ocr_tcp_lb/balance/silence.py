"""Who has kept its requests for so long, without a word, that it may hang.

Such a backend is passed over while another is in service: it is not ejected, because slow is not sick, and one reply
brings it back. Its requests run on, up to the response time-out. Found out by looking a few times a second, so that no
request pays for it; what a look may miss is the time between two.
"""

import math
from collections.abc import Sequence

from ocr_tcp_lb.balance.backend import Backend

TIMES_USUAL = 3.0  # of the learned service time
LEAST_S = 2.0  # a garbage collection, a page of print: nobody is suspected for less
TOLD_TIMES_USUAL, TOLD_LEAST_S = 10.0, 10.0  # worth a line in the log; a large request among small ones is not


class Silence:
    """When each backend was first seen to have requests that it has not begun to answer."""

    __slots__ = ("_busy_since", "_told", "nobody_answers")

    def __init__(self) -> None:
        self._busy_since: dict[Backend, float] = {}
        self._told: set[Backend] = set()
        self.nobody_answers = False  # each backend in service would be suspected, if it were not for the last one

    def review(self, backends: Sequence[Backend], usual_s: float, now: float) -> list[Backend]:
        """Set `is_silent` of each backend; return those where it changed.

        `usual_s` is the fleet's service time, for those that have not shown their own; with neither, nobody is
        suspected. The last one in service never is.
        """
        since = self._busy_since
        self._busy_since = {one: since.get(one, now) for one in backends if one.in_flight > one.replying}
        changed = [one for one in backends if one.is_silent and not self._is_quiet(one, usual_s, now)]
        for backend in changed:
            backend.is_silent = False
        suspects = [one for one in backends if not one.is_silent and self._is_quiet(one, usual_s, now)]
        for backend in suspects:
            if any(other.is_in_service for other in backends if other is not backend):
                backend.is_silent = True
                changed.append(backend)
        if not any(one.is_in_service for one in backends):  # the others went: one that may hang is better than none
            relieved = [one for one in backends if one.is_silent]
            for backend in relieved:
                backend.is_silent = False
            changed += relieved
        self.nobody_answers = all(self._is_quiet(one, usual_s, now) for one in backends if one.is_in_service)
        return changed

    def news(self, backends: Sequence[Backend], usual_s: float, now: float) -> list[tuple[Backend, bool]]:
        """Return who has begun (True) or ceased to look as if it really hung, since this was last asked."""
        hang = [one for one in backends if self._is_quiet(one, usual_s, now, TOLD_TIMES_USUAL, TOLD_LEAST_S)]
        new = [(one, True) for one in hang if one not in self._told]
        new += [(one, False) for one in backends if one in self._told and one not in hang]
        self._told = set(hang)
        return new

    def _is_quiet(
        self,
        backend: Backend,
        usual_s: float,
        now: float,
        times_usual: float = TIMES_USUAL,
        least_s: float = LEAST_S,
    ) -> bool:
        usual_s = backend.service.mean_s or usual_s
        if backend.in_flight <= backend.replying or usual_s <= 0:
            return False
        heard_at = max(self._busy_since.get(backend, math.inf), backend.replied_at)
        return now - heard_at > max(least_s, times_usual * usual_s)
