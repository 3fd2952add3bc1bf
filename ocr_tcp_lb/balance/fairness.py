"""A lane of the queue in which keys share: whoever sends 5,000 requests waits for them, and nobody else does.

Start-time fair queueing (Goyal, Vin, Cheng 1996): each key has a virtual start time, which grows by the cost of each of
its requests that is served; the key that is furthest behind is next. A key that was idle starts level with the others:
it neither owes nor is owed, and once nobody waits no key does. Virtual time also grows with what is served, divided by
the keys that wait, or an endless stream of new keys would starve an old one. Within a key whoever is due is first
(`order.Turn`), else the lowest rank, then whoever came first. A key that has the lane for itself sees plain turns.
Everything is O(log n).
"""

import heapq
import itertools
import math
from collections import OrderedDict

from ocr_tcp_lb.balance.lease import Ticket
from ocr_tcp_lb.balance.order import Turn

_Entry = tuple[float, int, Ticket]  # what the heap is ordered by, the number of the push, and who


class _Share:
    """One key: its waiting tickets, and where it stands in virtual time."""

    __slots__ = ("dues", "finish", "is_listed", "ranks", "start", "waiting")

    def __init__(self) -> None:
        self.waiting: OrderedDict[Ticket, Turn] = OrderedDict()  # in the order they came
        self.ranks: list[_Entry] = []  # heaps; those who left or were taken are dropped when they come to the top
        self.dues: list[_Entry] = []
        self.is_listed = False  # among the keys whose turn will come
        self.start = 0.0
        self.finish = 0.0

    def first(self, now: float) -> Ticket | None:
        """Return who is due, else who ranks first; it stays. Nobody overtakes whose rank had passed when it came."""
        waiting, dues, ranks = self.waiting, self.dues, self.ranks
        while ranks and ranks[0][2] not in waiting:
            heapq.heappop(ranks)
        if not ranks:
            return None
        while dues and ((turn := waiting.get(dues[0][2])) is None or turn.late_at < now):
            heapq.heappop(dues)
        if dues and dues[0][0] <= now and dues[0][2].arrived_at <= ranks[0][0]:
            return dues[0][2]
        return ranks[0][2]

    def forget_those_who_left(self) -> None:
        """Drop the entries of tickets that wait no more, once they are the most."""
        if len(self.ranks) > 2 * len(self.waiting) + 64:
            for heap in (self.ranks, self.dues):
                heap[:] = [entry for entry in heap if entry[2] in self.waiting]
                heapq.heapify(heap)


class FairLane:
    """Tickets of one priority."""

    __slots__ = ("_count", "_crowds", "_shares", "_turns", "_virtual", "_waiting")

    def __init__(self) -> None:
        self._shares: dict[str, _Share] = {}
        self._turns: list[tuple[float, int, str]] = []  # keys by virtual start, each that waits exactly once
        self._crowds: list[tuple[int, str]] = []  # keys by how many wait; empty until asked for, see `crowd`
        self._waiting = 0
        self._virtual = 0.0
        self._count = itertools.count()

    def __len__(self) -> int:
        return self._waiting

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
        share.waiting[ticket] = turn
        self._waiting += 1
        share.forget_those_who_left()
        if self._crowds:
            heapq.heappush(self._crowds, (-len(share.waiting), ticket.key))
            if len(self._crowds) > 2 * len(self._turns) + 64:
                self._crowds = []

    def discard(self, ticket: Ticket) -> float:
        """Remove a ticket wherever it stands, which costs its key nothing; return its cost."""
        cost = self._drop(ticket)
        if not self._waiting:
            self._begin_anew()
        return cost

    def first(self, now: float) -> Ticket | None:
        """Return the ticket whose turn it is; it stays."""
        while self._turns:
            share = self._shares[self._turns[0][2]]
            ticket = share.first(now)
            if ticket is not None:
                return ticket
            heapq.heappop(self._turns)  # all of them left
            share.is_listed = False
        return None

    def take(self, ticket: Ticket) -> float:
        """Take out the ticket that `first` returned, at its key's expense; return its cost."""
        start, _, key = self._turns[0]
        assert key == ticket.key, "only the first is taken"
        cost = self._drop(ticket)
        if not self._waiting:
            self._begin_anew()
            return cost
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

    def _drop(self, ticket: Ticket) -> float:
        self._waiting -= 1
        return self._shares[ticket.key].waiting.pop(ticket).cost

    def _begin_anew(self) -> None:
        """Forget what keys owe: nobody waits, so nobody was kept waiting for it (the end of a busy period)."""
        self._shares.clear()
        self._turns.clear()
        self._crowds.clear()
        self._virtual = 0.0

    def ahead_of(self, key: str) -> int:
        """Return how many would be served before a newcomer of this key: its own, and as many of each other key."""
        own = self.waiting_of(key)
        if own == self._waiting:
            return own
        return min(self._waiting, (own + 1) * len(self._turns))

    def waiting_of(self, key: str) -> int:
        """Return how many of this key wait."""
        share = self._shares.get(key)
        return len(share.waiting) if share is not None else 0

    def crowd(self) -> tuple[int, Ticket]:
        """Return how many wait of the key that has the most, and the last of them; there must be one.

        The heap is made when it is first asked for, because most queues are never full, and again when it has more
        entries of the past than of the present. A key's entries say at least how many wait, so the top one is checked.
        """
        assert self._waiting, "nobody waits"
        if not self._crowds:
            self._crowds = [(-len(share.waiting), key) for key, share in self._shares.items() if share.waiting]
            heapq.heapify(self._crowds)
        while True:
            count, key = self._crowds[0]
            waiting = self.waiting_of(key)
            if waiting == -count:
                return waiting, next(reversed(self._shares[key].waiting))
            if waiting:
                heapq.heapreplace(self._crowds, (-waiting, key))
            else:
                heapq.heappop(self._crowds)

    def _forget_the_level(self) -> None:
        """Drop the keys that wait for nothing and owe nothing, so that there are never many more than wait."""
        if len(self._shares) < 2 * len(self._turns) + 64:
            return
        self._shares = {k: s for k, s in self._shares.items() if s.is_listed or s.finish > self._virtual}
