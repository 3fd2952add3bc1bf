"""The one queue: tickets that wait for a slot, first come first served, with retries ahead of everybody.

All operations are O(1). `push` raises `QueueFull` for a newcomer above the bound; a retry was admitted once
and is always taken back, so the queue may exceed its bound by the requests that were in flight, and no
further.
"""

from collections import OrderedDict
from collections.abc import Iterable

from ocr_tcp_lb.balance.lease import Ticket
from ocr_tcp_lb.errors import LoadBalancerError


class QueueFull(LoadBalancerError):
    """A newcomer was refused, because `waiting` requests wait already; nothing of it was sent anywhere."""

    def __init__(self, waiting: int) -> None:
        super().__init__(f"the queue is full: {waiting} requests are waiting")
        self.waiting = waiting


class TicketQueue:
    """Two lanes of one queue; in each, whoever came first is first.

    `OrderedDict` and not `dict`: its first entry is found in O(1) however many were removed before it.
    """

    __slots__ = ("_newcomers", "_retries", "size")

    def __init__(self, size: int) -> None:
        self.size = size  # how many newcomers may wait
        self._retries: OrderedDict[Ticket, None] = OrderedDict()
        self._newcomers: OrderedDict[Ticket, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._newcomers) + len(self._retries)

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket in self._newcomers or ticket in self._retries

    def push(self, ticket: Ticket) -> None:
        """Let a ticket wait: a retry behind the retries, a newcomer behind everybody."""
        assert ticket not in self, "a ticket waits once"
        if ticket.is_retry:
            self._retries[ticket] = None
        elif len(self) >= self.size:
            raise QueueFull(len(self))
        else:
            self._newcomers[ticket] = None

    def remove(self, ticket: Ticket) -> None:
        """Take a ticket out, wherever it stands."""
        assert ticket in self, "only a waiting ticket can leave"
        del (self._retries if ticket in self._retries else self._newcomers)[ticket]

    def retries(self) -> Iterable[Ticket]:
        """Return the waiting retries in order; a copy, so that the queue may change meanwhile."""
        return tuple(self._retries)

    def pop_newcomer(self) -> Ticket | None:
        """Take out and return the first newcomer, if any waits."""
        return self._newcomers.popitem(last=False)[0] if self._newcomers else None
