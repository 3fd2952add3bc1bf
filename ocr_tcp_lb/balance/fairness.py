"""A lane of the queue in which keys share: whoever sends 5,000 requests waits for them, and nobody else does.

Start-time fair queueing (Goyal, Vin, Cheng 1996): each key has a virtual start time, which grows by the cost of each of
its requests that is served; the key that is furthest behind is next. A key that was idle starts level with the others:
it neither owes nor is owed. Virtual time also grows with what is served, divided by the keys that wait, or an endless
stream of new keys would starve an old one. Within a key whoever is due is first (`order.Turn`), else the lowest rank,
then whoever came first. A key that has the lane for itself sees plain turns. Everything is O(log n).
"""

import heapq
import itertools
import math
from collections.abc import Mapping

from ocr_tcp_lb.balance.lease import Ticket
from ocr_tcp_lb.balance.order import Turn

_Entry = tuple[float, int, Ticket]  # what the heap is ordered by, the number of the push, and who


class _Share:
    """One key: its waiting tickets, and where it stands in virtual time."""

    __slots__ = ("dues", "finish", "is_listed", "ranks", "start", "waiting")

    def __init__(self) -> None:
        self.ranks: list[_Entry] = []  # heaps; those who left or were taken are dropped when they come to the top
        self.dues: list[_Entry] = []
        self.waiting = 0
        self.is_listed = False  # among the keys whose turn will come
        self.start = 0.0
        self.finish = 0.0

    def first(self, waiting: Mapping[Ticket, Turn], now: float) -> Ticket | None:
        """Return who is due, else who ranks first; it stays. Nobody overtakes whose rank had passed when it came."""
        dues, ranks = self.dues, self.ranks
        while ranks and ranks[0][2] not in waiting:
            heapq.heappop(ranks)
        if not ranks:
            return None
        while dues and ((turn := waiting.get(dues[0][2])) is None or turn.late_at < now):
            heapq.heappop(dues)
        if dues and dues[0][0] <= now and dues[0][2].arrived_at <= ranks[0][0]:
            return dues[0][2]
        return ranks[0][2]


class FairLane:
    """Tickets of one priority."""

    __slots__ = ("_count", "_shares", "_turns", "_virtual", "_waiting")

    def __init__(self) -> None:
        self._shares: dict[str, _Share] = {}
        self._turns: list[tuple[float, int, str]] = []  # keys by virtual start, each that waits exactly once
        self._waiting: dict[Ticket, Turn] = {}
        self._virtual = 0.0
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, ticket: Ticket, turn: Turn) -> None:
        """Add a ticket."""
        share = self._shares.get(ticket.key)
        if share is None:
            self._forget_the_level()
            share = self._shares[ticket.key] = _Share()
        number = next(self._count)
        if not share.is_listed:
            share.is_listed = True
            share.start = max(self._virtual, share.finish)
            heapq.heappush(self._turns, (share.start, number, ticket.key))
        heapq.heappush(share.ranks, (turn.rank, number, ticket))
        if turn.due_at < math.inf:
            heapq.heappush(share.dues, (turn.due_at, number, ticket))
        share.waiting += 1
        self._waiting[ticket] = turn

    def discard(self, ticket: Ticket) -> float:
        """Remove a ticket wherever it stands, which costs its key nothing; return its cost."""
        self._shares[ticket.key].waiting -= 1
        return self._waiting.pop(ticket).cost

    def first(self, now: float) -> Ticket | None:
        """Return the ticket whose turn it is; it stays."""
        while self._turns:
            share = self._shares[self._turns[0][2]]
            ticket = share.first(self._waiting, now)
            if ticket is not None:
                return ticket
            heapq.heappop(self._turns)  # all of them left
            share.is_listed = False
        return None

    def take(self, ticket: Ticket) -> float:
        """Take out the ticket that `first` returned, at its key's expense; return its cost."""
        start, _, key = self._turns[0]
        assert key == ticket.key, "only the first is taken"
        cost = self.discard(ticket)
        share = self._shares[key]
        self._virtual = max(start, self._virtual + cost / len(self._turns))
        share.finish = share.start = start + cost
        if share.waiting:
            heapq.heapreplace(self._turns, (share.start, next(self._count), key))
        else:
            heapq.heappop(self._turns)
            share.is_listed = False
            share.ranks.clear()
            share.dues.clear()
        return cost

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
        self._shares = {k: s for k, s in self._shares.items() if s.is_listed or s.finish > self._virtual}
