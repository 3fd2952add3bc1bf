"""How many requests a backend takes at once: a small strategy object per backend.

`limit` is read before each grant and may be infinite. `on_grant` and `on_answer` tell the strategy what
happens, so that one which learns fits behind the same interface; the two here do not learn.
"""

import math
from typing import Literal, Protocol


class Limit(Protocol):
    """What a backend may have in flight, in requests."""

    @property
    def limit(self) -> float:
        """The most requests in flight at once, now; `math.inf` when unbounded."""

    def on_grant(self, in_flight: int, now: float) -> None:
        """Note a grant; `in_flight` counts it."""

    def on_answer(self, granted_at: float, in_flight: int, served: bool, now: float) -> None:
        """Note the end of an attempt granted at `granted_at`; `in_flight` no longer counts it."""


class Told:
    """The operator said `concurrency=N`, and is believed."""

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        assert limit >= 1, "a backend that takes nothing is not a backend"
        self.limit: float = limit

    def on_grant(self, in_flight: int, now: float) -> None:
        """Nothing to learn."""

    def on_answer(self, granted_at: float, in_flight: int, served: bool, now: float) -> None:
        """Nothing to learn."""


class Unlimited:
    """Nobody said, so nothing is held back: one too low starves a worker, one too high costs 2 %."""

    __slots__ = ("limit",)

    def __init__(self) -> None:
        self.limit: float = math.inf

    def on_grant(self, in_flight: int, now: float) -> None:
        """Nothing to learn."""

    def on_answer(self, granted_at: float, in_flight: int, served: bool, now: float) -> None:
        """Nothing to learn."""


def limit_for(concurrency: int | Literal["auto"]) -> Limit:
    """Return the strategy for a configured concurrency."""
    return Unlimited() if concurrency == "auto" else Told(concurrency)
