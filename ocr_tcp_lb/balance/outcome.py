"""How an attempt at a backend ended, in the few words that the fleet decides on.

The relay names the outcome once, at the end of an attempt. What it does to counts, learned speed, health and
the ticket is decided in this room: see `backend`, `health` and `lease`.
"""

from enum import Enum, auto
from typing import Final


class Outcome(Enum):
    """How one attempt ended, seen from the balancer."""

    SERVED = auto()  # a whole reply; the only outcome that teaches a service time
    CLIENT_ERROR = auto()  # a whole 4xx reply: the backend is well, but refusing in 1 ms is not speed
    SERVER_ERROR = auto()  # a whole 5xx reply
    CONNECT_FAILED = auto()  # refused, unreachable or timed out: not a byte of the request was sent
    BROKE = auto()  # reset, closed early or nonsense, after the connection stood
    HUNG_UP = auto()  # a connection in L4 mode: ended in order and at once, without a word though it had taken some
    SILENT = auto()  # timed out while the backend had the request
    CLIENT_LEFT = auto()  # the client went away first; says nothing about the backend
    STALE = auto()  # a pooled connection was found closed before any byte of the reply; nobody's fault


SERVED: Final = Outcome.SERVED  # for those who ask twice a request: a name is found twice as fast as an enum's member
WHOLE_REPLIES = frozenset({Outcome.SERVED, Outcome.CLIENT_ERROR})
FAILURES = frozenset({Outcome.SERVER_ERROR, Outcome.CONNECT_FAILED, Outcome.BROKE, Outcome.HUNG_UP, Outcome.SILENT})
_ABOUT_THE_REQUEST = frozenset({501, 505})  # RFC 9110, 15.6.2 and 15.6.6: no method, no version that it knows


def outcome_of(status: int) -> Outcome:
    """What a whole reply of this status says of its backend: 4xx is the client's doing, and teaches no speed."""
    if status < 400:
        return SERVED
    is_client_error = status < 500 or status in _ABOUT_THE_REQUEST
    return Outcome.CLIENT_ERROR if is_client_error else Outcome.SERVER_ERROR
