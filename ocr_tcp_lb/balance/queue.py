"""The one queue: tickets that wait for a slot. Retries first, then by urgency, then fairly by key, then by turn.

All operations are O(log n). A full queue is shared, too: a newcomer that is more urgent, or of a key with fewer
waiting, displaces the last one of the key with the most; `push` raises `QueueFull` for any other. A retry was admitted
once and is always taken back, so the queue may exceed its bound by the requests that were in flight, and no further.
With the same priority, key and no turns the order is first come, first served.
"""

from collections import OrderedDict
from collections.abc import Iterable

from ocr_tcp_lb.balance.fairness import FairLane
from ocr_tcp_lb.balance.lease import LEAST_URGENT, Ticket
from ocr_tcp_lb.balance.order import Turn
from ocr_tcp_lb.errors import LoadBalancerError

PRIORITY_STEP_S = 20.0  # one level of urgency is worth this much waiting; so no level starves


class QueueFull(LoadBalancerError):
    """A newcomer was refused, because `waiting` requests wait already; nothing of it was sent anywhere."""

    def __init__(self, waiting: int) -> None:
        super().__init__(f"the queue is full: {waiting} requests are waiting")
        self.waiting = waiting


class TicketQueue:
    """A lane for retries, and one for newcomers of each priority.

    `OrderedDict` and not `dict`: its first entry is found in O(1) however many were removed before it.
    """

    __slots__ = ("_lanes", "_newcomers", "_retries", "count", "size", "work")

    def __init__(self, size: int) -> None:
        self.size = size  # how many newcomers may wait
        self.count = 0  # how many wait
        self.work = 0.0  # what the newcomers cost together, in mean requests
        self._retries: OrderedDict[Ticket, None] = OrderedDict()
        self._newcomers: set[Ticket] = set()
        self._lanes: dict[int, FairLane] = {}

    def __len__(self) -> int:
        return self.count

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket in self._newcomers or ticket in self._retries

    @property
    def is_full(self) -> bool:
        """Whether as many wait as may."""
        return self.count >= self.size

    def push(self, ticket: Ticket, turn: Turn | None = None) -> Ticket | None:
        """Let a ticket wait: a retry behind the retries, a newcomer in its turn, by default whoever came first.

        Returns whom it displaced, if anybody.
        """
        assert ticket not in self, "a ticket waits once"
        if ticket.is_retry:
            self._retries[ticket] = None
            self.count += 1
            return None
        displaced = None
        if self.count >= self.size:
            displaced = self._who_makes_room(ticket)
            if displaced is None:
                raise QueueFull(self.count)
            self.remove(displaced)
        assert 0 <= ticket.priority <= LEAST_URGENT, "priorities go from 0 to 9"
        turn = turn or Turn(ticket.arrived_at)
        self._newcomers.add(ticket)
        self.count += 1
        self.work += turn.cost
        lane = self._lanes.get(ticket.priority)
        if lane is None:
            lane = self._lanes[ticket.priority] = FairLane()
        lane.push(ticket, turn)
        return displaced

    def _who_makes_room(self, ticket: Ticket) -> Ticket | None:
        """Return who is to leave a full queue for a newcomer, or None; the least urgent levels are looked at first.

        At its own level one more must be fewer than the other key has, or the two would displace each other for ever.
        """
        for priority in sorted((one for one, lane in self._lanes.items() if len(lane)), reverse=True):
            if priority < ticket.priority:
                break
            lane = self._lanes[priority]
            crowd, last = lane.crowd()
            if priority > ticket.priority:
                goes_first = _due(ticket) < _due(last)
            else:
                goes_first = lane.waiting_of(ticket.key) + 1 < crowd
            if goes_first:
                return last
        return None

    def remove(self, ticket: Ticket) -> None:
        """Take a ticket out, wherever it stands."""
        assert ticket in self, "only a waiting ticket can leave"
        if ticket in self._retries:
            self.count -= 1
            del self._retries[ticket]
        else:
            self._forget(ticket, self._lanes[ticket.priority].discard(ticket))

    def retries(self) -> Iterable[Ticket]:
        """Return the waiting retries in order; a copy, so that the queue may change meanwhile."""
        return tuple(self._retries)

    @property
    def has_retries(self) -> bool:
        """Whether any retry waits."""
        return bool(self._retries)

    @property
    def newcomers(self) -> int:
        """How many newcomers wait."""
        return len(self._newcomers)

    def first_newcomer(self, now: float) -> Ticket | None:
        """Return the newcomer whose turn it is, if any waits; it stays in the queue."""
        first, first_due = None, 0.0
        for lane in self._lanes.values():
            ticket = lane.first(now)
            if ticket is not None:
                due = _due(ticket)
                if first is None or due < first_due:
                    first, first_due = ticket, due
        return first

    def take(self, ticket: Ticket) -> None:
        """Take out the newcomer that `first_newcomer` returned, to be served."""
        self._forget(ticket, self._lanes[ticket.priority].take(ticket))

    def _forget(self, ticket: Ticket, cost: float) -> None:
        self._newcomers.remove(ticket)
        self.count -= 1
        self.work = self.work - cost if self._newcomers else 0.0  # no crumbs stay

    def ahead_of(self, ticket: Ticket) -> int:
        """Return how many would be served before a ticket that came now; an upper estimate in O(priorities)."""
        ahead = len(self._retries)
        if ticket.is_retry:
            return ahead
        for priority, lane in self._lanes.items():
            if priority <= ticket.priority or self._has_aged(lane, ticket):
                ahead += lane.ahead_of(ticket.key)
        return ahead

    @staticmethod
    def _has_aged(lane: FairLane, ticket: Ticket) -> bool:
        """Whether the first one of a less urgent level goes before a newcomer, because it has waited for so long."""
        first = lane.first(ticket.arrived_at)
        return first is not None and _due(first) <= _due(ticket)

    def work_ahead_of(self, ticket: Ticket) -> float:
        """Return the same in mean requests: those ahead count as much as those who wait cost on average."""
        ahead = self.ahead_of(ticket)
        return ahead * self.work / len(self._newcomers) if self._newcomers else ahead


def _due(ticket: Ticket) -> float:
    """When it would have come, were all as urgent as 0: levels are served by this."""
    return ticket.arrived_at + PRIORITY_STEP_S * ticket.priority
