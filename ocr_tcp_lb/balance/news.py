"""What an operator wants to read about backends: who was taken out of service, why and for how long, and who is back.

The fleet adds to it where health changes, which no request that is served well ever sees; whoever writes the log takes
it from there a few times a second, so that there are never many; none is lost. A backend that is down is told once, not
at each trial that fails.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ocr_tcp_lb.balance.backend import Backend
from ocr_tcp_lb.balance.health import Event, State
from ocr_tcp_lb.balance.outcome import Outcome

REASONS = {
    Outcome.CONNECT_FAILED: "it could not be connected to",
    Outcome.BROKE: "it broke a connection, or its reply was no HTTP",
    Outcome.HUNG_UP: "it closed connections in a row without a word",
    Outcome.SERVER_ERROR: "it answered requests in a row with errors",
    Outcome.SILENT: "it did not answer in time",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One line; `is_bad` is what to be warned of."""

    text: str
    is_bad: bool


class News:
    """Lines that nobody has taken yet, the oldest first."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: list[Item] = []

    def take(self) -> Sequence[Item]:
        """Return what is new, once."""
        if not self._items:
            return ()
        taken, self._items = self._items, []
        return taken

    def health_moved(self, backend: Backend, was: State, event: Event, now: float) -> None:
        """Note a change of state; `event` is what led to it."""
        health = backend.health
        if was is State.UP:
            reason = "its health checks failed" if event is Event.CHECKED_ILL else REASONS[health.last_outcome]
            self._add(f"backend {backend.name} is ejected for {health.retry_at - now:.1f} s: {reason}", is_bad=True)
        elif health.state is State.UP:
            self._add(f"backend {backend.name} is back after {now - health.left_at:.1f} s", is_bad=False)

    def silence_changed(self, backend: Backend, hangs: bool) -> None:
        """Note that a backend looks as if it hung, or no more."""
        if hangs:
            self._add(f"backend {backend.name} seems to hang: {backend.in_flight} in flight, no reply", is_bad=True)
        else:
            self._add(f"backend {backend.name} does not seem to hang any more", is_bad=False)

    def _add(self, text: str, *, is_bad: bool) -> None:
        self._items.append(Item(text, is_bad))
