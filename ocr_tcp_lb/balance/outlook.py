"""What is to be expected of requests: how long one of this size takes and would wait, and so in whose turn it waits.

Everything here is learned from what was measured: speeds by `forecast`, sizes by `size`, and what is late by `order`.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal

from ocr_tcp_lb.balance.backend import Backend
from ocr_tcp_lb.balance.forecast import Forecast
from ocr_tcp_lb.balance.lease import Ticket
from ocr_tcp_lb.balance.order import BySize, Turn
from ocr_tcp_lb.balance.queue import TicketQueue
from ocr_tcp_lb.balance.size import SizeModel

Order = Literal["fifo", "size"]

SIZES_EVERY_S: Final = 0.001  # of 10,000 answers a second one in ten says enough about sizes


class Outlook:
    """The expectations of one fleet, in seconds."""

    __slots__ = ("_backends", "_by_size", "_forecast", "_sizes_due", "order", "sizes")

    def __init__(self, order: Order, queue_timeout_s: float) -> None:
        self.order = order
        self.sizes = SizeModel()
        self._by_size = BySize(queue_timeout_s)
        self._sizes_due = -math.inf
        self.take_on(())

    def take_on(self, backends: Sequence[Backend]) -> None:
        """Expect requests to be served by these from now on."""
        self._backends = backends
        self._forecast = Forecast(backends)

    def set_order(self, order: Order, queue_timeout_s: float) -> None:
        """Give turns in another order, to those who come."""
        self.order = order
        self._by_size.timeout_s = queue_timeout_s

    def learn(self, size_bytes: int, service_s: float, backend_mean_s: float, now: float) -> None:
        """Take in what a good answer to a request of this size took."""
        if now >= self._sizes_due:
            self._sizes_due = now + SIZES_EVERY_S
            self.sizes.learn(size_bytes, service_s, backend_mean_s)

    def mean_service_s(self, now: float) -> float:
        """Return what the mean request takes; 0 while nothing is measured."""
        return self._forecast.service_s(now)

    def turn_of(self, ticket: Ticket, queue: TicketQueue, now: float) -> Turn:
        """Return the place of a newcomer among those who wait."""
        cost = self.sizes.factor(ticket.size_bytes)
        gap_s = self._forecast.wait_s(1, now)
        if self.order == "fifo" or not self.sizes.is_believed or not 0 < gap_s < math.inf:
            return Turn(ticket.arrived_at, cost)
        service_s = cost * self._forecast.service_s(now)
        return self._by_size.turn(ticket.arrived_at, cost, service_s, queue.work * gap_s, gap_s)

    def wait_s(self, ticket: Ticket, queue: TicketQueue, now: float) -> float:
        """Return how long the ticket would wait if it came now.

        From who is ahead, and how large they are. Zero where somebody is free, and while nothing is measured; infinite
        while nothing is in service.
        """
        if any(backend.is_free for backend in self._backends):
            return 0.0
        return self._forecast.wait_s(queue.work_ahead_of(ticket) + 1, now)

    def service_s(self, ticket: Ticket, now: float) -> float:
        """Return how long the ticket would be served for."""
        return self._forecast.service_s(now) * self.sizes.factor(ticket.size_bytes)

    def is_open(self, now: float) -> bool:
        """Whether somebody is free whose speed is not known, or not any more; reserves only if nobody else is free."""
        free = [one for one in self._backends if one.is_free]
        return not all(one.service.is_known(now) for one in [b for b in free if not b.is_reserve] or free)
