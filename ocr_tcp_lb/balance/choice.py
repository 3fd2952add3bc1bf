"""Whom the few tickets get that may not simply have the next one: retries, and those that may become tunnels.

All look at every backend: they are rare.
"""

import math
from collections.abc import Sequence

from ocr_tcp_lb.balance.backend import Backend
from ocr_tcp_lb.balance.lease import Ticket
from ocr_tcp_lb.balance.roster import Roster


def choose_untried(backends: Sequence[Backend], roster: Roster, ticket: Ticket, now: float) -> Backend | None:
    """Choose for a retry: no tried backend while an untried one is in service, unless it has come back since."""
    if any(one.is_in_service and one not in ticket.tried for one in backends):
        untried = roster.choose_except(ticket.tried, now)
        return untried or roster.choose_except([one for one in ticket.tried if not ticket.may_return_to(one)], now)
    return roster.choose(1, math.inf, now)


def choose_to_stay(backends: Sequence[Backend]) -> Backend | None:
    """Choose for one that may become a tunnel: the fastest would collect them all, because they take no slot."""
    eligible = [one for one in backends if one.is_eligible]
    candidates = [one for one in eligible if not one.is_reserve] or eligible
    free = [one for one in candidates if one.in_flight < one.limiter.sure]  # a handshake is no probe
    return min(free, key=_load_to_stay, default=None)


def _load_to_stay(backend: Backend) -> tuple[float, int]:
    """What orders backends for a tunnel; ties round robin."""
    return (backend.tunnels + backend.in_flight + 1) / backend.weight, backend.last_grant
