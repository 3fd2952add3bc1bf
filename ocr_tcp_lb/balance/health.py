"""Whether a backend gets requests: one table of transitions, and nobody else assigns a state.

`note` turns an outcome into an event, `move` looks the event up in `TRANSITIONS` and starts or resets the
back-off. UP serves. EJECTED waits for its back-off. TRIAL lets one request through at a time; a whole reply
makes it UP.

Ejection and the last backend: a refused connection may take down even the last one, because a request kept
out of the queue would only be refused too, in microseconds; so the queue holds them and each short back-off
sends one to look. Any other failure spares the last one (`SPARED`): somebody answers there, however badly,
and holding a minute of requests back would be worse than the errors. Failed health checks count as refused
connections do: they find out without spending a request.
"""

from enum import Enum, auto

from ocr_tcp_lb.balance.chance import Rng
from ocr_tcp_lb.balance.outcome import WHOLE_REPLIES, Outcome

ERRORS_TO_EJECT = {  # in a row
    Outcome.SERVER_ERROR: 2,  # one 5xx may be the request's fault; two in a row cost at most two clients
    Outcome.HUNG_UP: 5,  # servers do so to scanners, many in a row; a proxy before a dead service does to everybody
}
BACKOFF_FIRST_S = 0.5  # a restarted process is back in about this time
BACKOFF_GROWTH = 1.5  # doubling to 4 s tripled latency when a fleet came back together
BACKOFF_MAX_S = 5.0
CHECKS_TO_EJECT = 2  # failed health checks in a row; one SYN may be lost. The first ever decides alone
DEAR_BACKOFF_FIRST_S = {Outcome.SERVER_ERROR: 10.0, Outcome.SILENT: 120.0}  # here a trial costs a client an error,
DEAR_BACKOFF_GROWTH = 4.0  # or a whole time-out: in the first 8 minutes 3 see the error, 1 the silence
DEAR_BACKOFF_MAX_S = 300.0
BACKOFF_JITTER = 0.1  # either way, so that a fleet ejected together is not tried together


class State(Enum):
    """What a backend's recent past allows it."""

    UP = "up"
    EJECTED = "ejected"
    TRIAL = "trial"


class Event(Enum):
    """What can happen to a backend's health."""

    ANSWERED = auto()  # a whole reply below 500
    PROVEN = auto()  # a long reply, a tunnel or an L4 connection that goes on well
    ERRED = auto()  # an error, of fewer in a row than eject
    FAILED = auto()  # one error more, a broken reply, or silence
    REFUSED = auto()  # no connection
    SPARED = auto()  # a failure other than REFUSED, but nobody else is up
    BACKOFF_OVER = auto()
    CHECKED_WELL = auto()  # a health check went well; the trial request is the second opinion
    CHECKED_ILL = auto()  # health checks in a row failed
    NOTHING = auto()  # the client left, or a pooled connection was stale


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.UP, Event.ANSWERED): State.UP,
    (State.UP, Event.PROVEN): State.UP,
    (State.UP, Event.ERRED): State.UP,
    (State.UP, Event.FAILED): State.EJECTED,
    (State.UP, Event.REFUSED): State.EJECTED,
    (State.UP, Event.SPARED): State.UP,
    (State.UP, Event.BACKOFF_OVER): State.UP,
    (State.UP, Event.CHECKED_WELL): State.UP,
    (State.UP, Event.CHECKED_ILL): State.EJECTED,
    (State.UP, Event.NOTHING): State.UP,
    (State.EJECTED, Event.ANSWERED): State.EJECTED,
    (State.EJECTED, Event.PROVEN): State.EJECTED,
    (State.EJECTED, Event.ERRED): State.EJECTED,
    (State.EJECTED, Event.FAILED): State.EJECTED,
    (State.EJECTED, Event.REFUSED): State.EJECTED,
    (State.EJECTED, Event.SPARED): State.EJECTED,
    (State.EJECTED, Event.BACKOFF_OVER): State.TRIAL,
    (State.EJECTED, Event.CHECKED_WELL): State.TRIAL,
    (State.EJECTED, Event.CHECKED_ILL): State.EJECTED,
    (State.EJECTED, Event.NOTHING): State.EJECTED,
    (State.TRIAL, Event.ANSWERED): State.UP,
    (State.TRIAL, Event.PROVEN): State.UP,
    (State.TRIAL, Event.ERRED): State.EJECTED,
    (State.TRIAL, Event.FAILED): State.EJECTED,
    (State.TRIAL, Event.REFUSED): State.EJECTED,
    (State.TRIAL, Event.SPARED): State.TRIAL,
    (State.TRIAL, Event.BACKOFF_OVER): State.TRIAL,
    (State.TRIAL, Event.CHECKED_WELL): State.TRIAL,
    (State.TRIAL, Event.CHECKED_ILL): State.EJECTED,
    (State.TRIAL, Event.NOTHING): State.TRIAL,
}


class Health:
    """One backend's state, its back-off, and whether a request may come through now.

    `era` counts the changes of state. An attempt speaks only for the era that it was granted in: eight
    requests that die with their worker are one failure, and one that dies late is no news about the worker's
    successor.
    """

    __slots__ = (
        "_checks_failed",
        "_errors_in_a_row",
        "_is_asked",
        "_relapse_kind",
        "_relapses",
        "_was_well",
        "ejections",
        "era",
        "is_untroubled",
        "last_outcome",
        "left_at",
        "retry_at",
        "state",
        "takes_requests",
    )

    def __init__(self) -> None:
        self.state = State.UP
        self.era = 0
        self.ejections = 0
        self.retry_at = 0.0  # when the back-off of an EJECTED backend ends
        self.takes_requests = True  # false while EJECTED, and while a trial is running
        self.is_untroubled = True  # a good reply would change nothing: up, and the last reply was no error
        self._errors_in_a_row = 0
        self._relapses = 0  # ejections since it was last up, of the same kind: minutes of refusals make no error dear
        self._relapse_kind: Outcome | None = None  # an outcome with a dear back-off, or any other
        self.last_outcome = Outcome.SERVED
        self.left_at = 0.0  # when it was last up, if it is not
        self._checks_failed = 0  # in a row
        self._was_well = False  # by a health check
        self._is_asked = False  # the last check that failed was a question, to which no other reply is an answer

    @property
    def gives_hope(self) -> bool:
        """Whether a request that comes now may well be served; not on a trial that the last check speaks against."""
        return self.state is State.UP or (self.state is State.TRIAL and not self._checks_failed)

    def take_trial(self) -> None:
        """Let nobody else through until the trial's outcome is noted."""
        assert self.takes_requests, "one trial at a time"
        self.takes_requests = False

    def note(self, outcome: Outcome) -> Event:
        """Count the outcome of an attempt of this era and return the event that it is; a trial is over."""
        self.takes_requests = self.state is not State.EJECTED
        self.last_outcome = outcome
        if outcome in WHOLE_REPLIES:
            self._errors_in_a_row = 0
            if not self._is_asked:
                self._checks_failed = 0
            self.is_untroubled = self.state is State.UP
            if self.is_untroubled:
                self._relapses = 0
            return Event.ANSWERED
        if outcome in ERRORS_TO_EJECT:
            self._errors_in_a_row += 1
            self.is_untroubled = False
            return Event.ERRED if self._errors_in_a_row < ERRORS_TO_EJECT[outcome] else Event.FAILED
        if outcome is Outcome.CONNECT_FAILED:
            return Event.REFUSED
        if outcome in (Outcome.BROKE, Outcome.SILENT):
            return Event.FAILED
        return Event.NOTHING

    def forgive(self) -> None:
        """An attempt goes on well: errors from now on are the first in a row."""
        self._errors_in_a_row = 0

    def note_check(self, is_well: bool, now: float, hold_s: float) -> Event:
        """Count a health check and return the event that it is.

        A failed one puts the next trial off until `hold_s` from now. A good one brings it forward, unless the last
        requests got errors or silence: such a backend answers checks, and no check can say that it is cured.
        """
        if is_well:
            self._checks_failed = 0
            self._was_well = True
            return Event.NOTHING if self.last_outcome in DEAR_BACKOFF_FIRST_S else Event.CHECKED_WELL
        self._checks_failed += 1
        self._is_asked = hold_s > 0
        self.is_untroubled = False
        self.retry_at = max(self.retry_at, now + hold_s)
        if self._was_well and self.state is State.UP and self._checks_failed < CHECKS_TO_EJECT:
            return Event.NOTHING
        self.last_outcome = Outcome.CONNECT_FAILED
        return Event.CHECKED_ILL

    def may_be_spared(self, event: Event) -> bool:
        """Whether the event would eject, in a way that the last backend is spared from."""
        can_be = event is not Event.REFUSED and event is not Event.CHECKED_ILL
        return can_be and TRANSITIONS[self.state, event] is State.EJECTED

    def move(self, event: Event, now: float, rng: Rng) -> bool:
        """Apply an event; return whether the state changed."""
        state = TRANSITIONS[self.state, event]
        if state is self.state:
            return False
        if self.state is State.UP:
            self.left_at = now
        self.state = state
        self.era += 1
        self.takes_requests = state is not State.EJECTED
        self._errors_in_a_row = 0
        if state is State.UP and event is Event.ANSWERED:
            self._relapses = 0
        self.is_untroubled = state is State.UP and not self._relapses
        if state is State.EJECTED:
            self.ejections += 1
            kind = self.last_outcome if self.last_outcome in DEAR_BACKOFF_FIRST_S else None
            if kind is not self._relapse_kind:
                self._relapse_kind, self._relapses = kind, 0
            until = now + self._backoff_s() * (1 + BACKOFF_JITTER * (2 * rng.random() - 1))
            self.retry_at = max(until, self.retry_at)  # a failed check may have put it off further
            self._relapses += 1
        else:
            self.retry_at = 0.0
        return True

    def hasten(self, now: float) -> None:
        """Bring the trial forward where only its price has put it off: nobody else serves, so all pay for waiting."""
        if self.state is State.EJECTED and self._relapse_kind is self.last_outcome:
            self.retry_at = min(self.retry_at, now + _cheap_backoff_s(self._relapses - 1))

    def _backoff_s(self) -> float:
        """Return how long to keep away: the longer, the dearer another failure is to a client."""
        relapses = min(self._relapses, 50)
        dear_first_s = DEAR_BACKOFF_FIRST_S.get(self.last_outcome)
        if dear_first_s is not None:
            return min(dear_first_s * DEAR_BACKOFF_GROWTH**relapses, DEAR_BACKOFF_MAX_S)
        return _cheap_backoff_s(relapses)


def _cheap_backoff_s(relapses: int) -> float:
    return min(BACKOFF_FIRST_S * BACKOFF_GROWTH ** min(relapses, 50), BACKOFF_MAX_S)
