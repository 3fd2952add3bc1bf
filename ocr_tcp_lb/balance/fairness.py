"""A lane of the queue in which keys share: whoever sends 5,000 requests waits for them, and nobody else does.

Start-time fair queueing (Goyal, Vin, Cheng 1996): each key has a virtual start time, which grows by the cost of each of
its requests that is served; the key that is furthest behind is next. A key that was idle starts level with the others:
it neither owes nor is owed. Virtual time also grows with what is served, divided by the keys that wait, or an endless
stream of new keys would starve an old one. Within a key the lowest rank is first, then whoever came first. A key that
has the lane for itself sees plain ranks. Everything is O(log n).
"""

import heapq
import itertools

from ocr_tcp_lb.balance.lease import Ticket


class _Share:
    """One key: its waiting tickets, and where it stands in virtual time."""

    __slots__ = ("entries", "finish", "start", "waiting")

    def __init__(self) -> None:
        self.entries: list[tuple[float, int, float, Ticket]] = []
        self.waiting = 0
        self.start = 0.0
        self.finish = 0.0


class FairLane:
    """Tickets of one priority."""

    __slots__ = ("_count", "_shares", "_turns", "_virtual", "_waiting")

    def __init__(self) -> None:
        self._shares: dict[str, _Share] = {}
        self._turns: list[tuple[float, int, str]] = []  # keys by virtual start, each that waits exactly once
        self._waiting: set[Ticket] = set()
        self._virtual = 0.0
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, ticket: Ticket, rank: float, cost: float) -> None:
        """Add a ticket."""
        share = self._shares.get(ticket.key)
        if share is None:
            self._forget_the_level()
            share = self._shares[ticket.key] = _Share()
        if not share.entries:
            share.start = max(self._virtual, share.finish)
            heapq.heappush(self._turns, (share.start, next(self._count), ticket.key))
        heapq.heappush(share.entries, (rank, next(self._count), cost, ticket))
        share.waiting += 1
        self._waiting.add(ticket)

    def discard(self, ticket: Ticket) -> None:
        """Remove a ticket wherever it stands; it costs its key nothing."""
        self._waiting.remove(ticket)
        self._shares[ticket.key].waiting -= 1

    def first(self) -> Ticket | None:
        """Return the ticket whose turn it is; it stays."""
        while self._turns:
            share = self._shares[self._turns[0][2]]
            while share.entries and share.entries[0][3] not in self._waiting:
                heapq.heappop(share.entries)
            if share.entries:
                return share.entries[0][3]
            heapq.heappop(self._turns)  # all of them left
        return None

    def pop(self) -> Ticket | None:
        """Take out and return the ticket whose turn it is."""
        if self.first() is None:
            return None
        start, _, key = self._turns[0]
        share = self._shares[key]
        _, _, cost, ticket = heapq.heappop(share.entries)
        self._waiting.remove(ticket)
        share.waiting -= 1
        self._virtual = max(start, self._virtual + cost / len(self._turns))
        share.finish = share.start = start + cost
        if share.entries:
            heapq.heapreplace(self._turns, (share.start, next(self._count), key))
        else:
            heapq.heappop(self._turns)
        return ticket

    def ahead_of(self, key: str) -> int:
        """Return how many would be served before a newcomer of this key: its own, and as many of each other key."""
        share = self._shares.get(key)
        own = share.waiting if share is not None else 0
        if own == len(self._waiting):
            return own
        return min(len(self._waiting), (own + 1) * len(self._turns))

    def _forget_the_level(self) -> None:
        """Drop the keys that wait for nothing and owe nothing, so that there are never many more than wait."""
        if len(self._shares) < 2 * len(self._turns) + 64:
            return
        self._shares = {k: s for k, s in self._shares.items() if s.entries or s.finish > self._virtual}
