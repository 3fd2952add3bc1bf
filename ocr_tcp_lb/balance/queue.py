"""The one queue: tickets that wait for a slot. Retries first, then by urgency, then fairly by key, then by rank.

All operations are O(log n). `push` raises `QueueFull` for a newcomer above the bound; a retry was admitted once and is
always taken back, so the queue may exceed its bound by the requests that were in flight, and no further. With the same
priority, key and no ranks the order is first come, first served.
"""

from collections import OrderedDict
from collections.abc import Iterable

from ocr_tcp_lb.balance.fairness import FairLane
from ocr_tcp_lb.balance.lease import LEAST_URGENT, Ticket
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

    __slots__ = ("_lanes", "_newcomers", "_retries", "count", "size")

    def __init__(self, size: int) -> None:
        self.size = size  # how many newcomers may wait
        self.count = 0  # how many wait
        self._retries: OrderedDict[Ticket, None] = OrderedDict()
        self._newcomers: set[Ticket] = set()
        self._lanes: dict[int, FairLane] = {}

    def __len__(self) -> int:
        return self.count

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket in self._newcomers or ticket in self._retries

    def push(self, ticket: Ticket, rank: float | None = None, cost: float = 1.0) -> None:
        """Let a ticket wait: a retry behind the retries, a newcomer in its turn.

        Among tickets of one priority and key the lowest `rank` is first, by default whoever came first. `cost` is
        what the ticket takes of its key's share.
        """
        assert ticket not in self, "a ticket waits once"
        if ticket.is_retry:
            self._retries[ticket] = None
            self.count += 1
            return
        if self.count >= self.size:
            raise QueueFull(self.count)
        assert 0 <= ticket.priority <= LEAST_URGENT, "priorities go from 0 to 9"
        self._newcomers.add(ticket)
        self.count += 1
        lane = self._lanes.get(ticket.priority)
        if lane is None:
            lane = self._lanes[ticket.priority] = FairLane()
        lane.push(ticket, ticket.arrived_at if rank is None else rank, cost)

    def remove(self, ticket: Ticket) -> None:
        """Take a ticket out, wherever it stands."""
        assert ticket in self, "only a waiting ticket can leave"
        self.count -= 1
        if ticket in self._retries:
            del self._retries[ticket]
        else:
            self._newcomers.remove(ticket)
            self._lanes[ticket.priority].discard(ticket)

    def retries(self) -> Iterable[Ticket]:
        """Return the waiting retries in order; a copy, so that the queue may change meanwhile."""
        return tuple(self._retries)

    @property
    def newcomers(self) -> int:
        """How many newcomers wait."""
        return len(self._newcomers)

    def first_newcomer(self) -> Ticket | None:
        """Return the newcomer whose turn it is, if any waits; it stays in the queue."""
        first, first_due = None, 0.0
        for priority, lane in self._lanes.items():
            ticket = lane.first()
            if ticket is not None:
                due = ticket.arrived_at + PRIORITY_STEP_S * priority
                if first is None or due < first_due:
                    first, first_due = ticket, due
        return first

    def pop_newcomer(self) -> Ticket | None:
        """Take out and return the newcomer whose turn it is, if any waits."""
        ticket = self.first_newcomer()
        if ticket is not None:
            self._newcomers.remove(ticket)
            self.count -= 1
            self._lanes[ticket.priority].pop()
        return ticket

    def ahead_of(self, ticket: Ticket) -> int:
        """Return how many would be served before a newcomer that came now; an upper estimate in O(priorities)."""
        lanes = [lane for priority, lane in self._lanes.items() if priority <= ticket.priority]
        return len(self._retries) + sum(lane.ahead_of(ticket.key) for lane in lanes)
