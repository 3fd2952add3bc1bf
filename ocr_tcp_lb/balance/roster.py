"""The backends that can take a request now, kept up to date in O(1) instead of being searched for.

`candidates` are the open backends with a weight, or the open reserves when there is none.
"""

from collections.abc import Sequence

from ocr_tcp_lb.balance.backend import Backend


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


class Roster:
    """Who is open, split into backends with a weight and reserves."""

    __slots__ = ("_reserves", "_weighted")

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._weighted = _OpenList()
        self._reserves = _OpenList()
        for backend in backends:
            self.refresh(backend)

    def refresh(self, backend: Backend) -> None:
        """Put the backend on or off the list after anything about it changed."""
        lane = self._reserves if backend.is_reserve else self._weighted
        is_eligible = backend.is_eligible
        if is_eligible is not (backend in lane.place):
            (lane.add if is_eligible else lane.discard)(backend)

    @property
    def candidates(self) -> Sequence[Backend]:
        """The backends to choose from now; empty when a request has to wait."""
        return self._weighted.members or self._reserves.members

    def candidates_without(self, tried: set[Backend]) -> Sequence[Backend]:
        """Return the backends to choose from now that are not in `tried`."""
        return [b for b in self._weighted.members if b not in tried] or [
            b for b in self._reserves.members if b not in tried
        ]
