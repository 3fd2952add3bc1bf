"""The backends that can take a request now, kept up to date instead of being searched for, and the choice among them.

`Listed` hands the open backends to a `Policy`; `Ranked` keeps them by speed for the `queue` policy, which also probes
and holds. Both use reserves only when no other backend is open. Who is open changes through `refresh` alone; `Ranked`
looks at what changed when the next choice is due, because most backends change twice by then.
"""

import math
from collections.abc import Container, Sequence
from typing import Final

from ocr_tcp_lb.balance.backend import Backend
from ocr_tcp_lb.balance.chance import Rng
from ocr_tcp_lb.balance.policy import POLICIES, Policy
from ocr_tcp_lb.balance.ranking import Ranking

DEEP: Final = 12  # so many waiting justify a second probe at a backend that is being probed; they come in bursts
REVIEW_S: Final = 5.0  # how late it may be noticed that an estimate has expired; estimates live for a minute


class Roster:
    """Who is open, and who is chosen."""

    __slots__ = ()

    def refresh(self, backend: Backend) -> None:
        """Take note after anything about the backend changed."""
        raise NotImplementedError

    def choose(self, position: int, waited_s: float, now: float) -> Backend | None:
        """Return a backend for the request at this position of the queue (1 is first), or None: it has to wait."""
        raise NotImplementedError

    def choose_except(self, tried: Container[Backend], now: float) -> Backend | None:
        """Return a backend that is not in `tried`, or None."""
        raise NotImplementedError

    def has_open(self, now: float) -> bool:
        """Whether `choose_except` could return anybody at all; much cheaper than to ask it."""
        raise NotImplementedError

    def hold_s(self, now: float) -> float:
        """Return for how long a request may be held though a backend is open; infinite when none is."""
        raise NotImplementedError


class _OpenList:
    """A list with O(1) add and discard; the last member takes the place of a discarded one."""

    __slots__ = ("members", "place")

    def __init__(self) -> None:
        self.members: list[Backend] = []
        self.place: dict[Backend, int] = {}

    def add(self, backend: Backend) -> None:
        self.place[backend] = len(self.members)
        self.members.append(backend)

    def discard(self, backend: Backend) -> None:
        place = self.place.pop(backend)
        last = self.members.pop()
        if last is not backend:
            self.members[place] = last
            self.place[last] = place


class Listed(Roster):
    """Open backends as lists, for the policies that look at all of them."""

    __slots__ = ("_policy", "_reserves", "_rng", "_weighted")

    def __init__(self, backends: Sequence[Backend], policy: Policy, rng: Rng) -> None:
        self._policy = policy
        self._rng = rng
        self._weighted = _OpenList()
        self._reserves = _OpenList()
        for backend in backends:
            self.refresh(backend)

    def refresh(self, backend: Backend) -> None:
        """Put the backend on or off its list."""
        lane = self._reserves if backend.is_reserve else self._weighted
        is_eligible = backend.is_eligible
        if is_eligible is not (backend in lane.place):
            if is_eligible:
                lane.add(backend)
            else:
                lane.discard(backend)

    def choose(self, position: int, waited_s: float, now: float) -> Backend | None:
        """Return the policy's choice; nobody is held."""
        return self._pick(self._weighted.members or self._reserves.members, now)

    def choose_except(self, tried: Container[Backend], now: float) -> Backend | None:
        """Return the policy's choice among the others."""
        left = [b for b in self._weighted.members if b not in tried]
        return self._pick(left or [b for b in self._reserves.members if b not in tried], now)

    def has_open(self, now: float) -> bool:
        """Whether any is on a list."""
        return bool(self._weighted.members or self._reserves.members)

    def hold_s(self, now: float) -> float:
        """Nobody is held."""
        return math.inf

    def _pick(self, candidates: Sequence[Backend], now: float) -> Backend | None:
        if len(candidates) <= 1:
            return candidates[0] if candidates else None
        return self._policy.pick(candidates, now, self._rng)


class Ranked(Roster):
    """Open backends by speed, for the `queue` policy."""

    __slots__ = ("_backends", "_changed", "_has_reserves", "_policy", "_reserves", "_review_at", "_rng", "_weighted")

    def __init__(self, backends: Sequence[Backend], policy: Policy, rng: Rng) -> None:
        self._backends = backends
        self._policy = policy
        self._rng = rng
        self._weighted = Ranking()
        self._reserves = Ranking()
        self._has_reserves = any(backend.is_reserve for backend in backends)
        self._changed: dict[Backend, None] = dict.fromkeys(backends)
        self._review_at = -math.inf

    def refresh(self, backend: Backend) -> None:
        """Remember to put the backend where its speed and load say."""
        self._changed[backend] = None

    def choose(self, position: int, waited_s: float, now: float) -> Backend | None:
        """Return the fastest free backend, or one to probe, unless the request is better held."""
        if self._changed or now >= self._review_at:
            self._catch_up(now)
        may_pile = waited_s > 0 and position > DEEP
        ranking = self._weighted
        if self._has_reserves and not ranking.has_open(may_pile):
            ranking = self._reserves
        return ranking.choose(position, waited_s, may_pile)

    def choose_except(self, tried: Container[Backend], now: float) -> Backend | None:
        """Return the fastest of the others; O(n), because retries are rare."""
        left = [b for b in self._backends if b.is_eligible and b not in tried]
        candidates = [b for b in left if not b.is_reserve] or left
        return self._policy.pick(candidates, now, self._rng) if candidates else None

    def has_open(self, now: float) -> bool:
        """Whether any is free or may be probed."""
        if self._changed:
            self._catch_up(now)
        return self._weighted.has_open(may_pile=True) or (self._has_reserves and self._reserves.has_open(may_pile=True))

    def hold_s(self, now: float) -> float:
        """Return the service time of the backend that is open: waiting for longer than that cannot pay."""
        if self._changed:
            self._catch_up(now)
        hold_s = self._weighted.hold_s()
        return self._reserves.hold_s() if self._has_reserves and hold_s == math.inf else hold_s

    def _catch_up(self, now: float) -> None:
        """Look at those that changed, and now and then at all: an estimate may have expired without an event."""
        changed = self._changed
        if now >= self._review_at:
            self._review_at = now + REVIEW_S
            changed.update(dict.fromkeys(self._backends))
        for backend in changed:
            (self._reserves if backend.is_reserve else self._weighted).refresh(backend, now)
        changed.clear()


def roster_for(policy_name: str, backends: Sequence[Backend], rng: Rng) -> Roster:
    """Return the roster that a policy needs, with that policy."""
    policy = POLICIES[policy_name]()
    if policy_name == "queue":
        return Ranked(backends, policy, rng)
    return Listed(backends, policy, rng)
