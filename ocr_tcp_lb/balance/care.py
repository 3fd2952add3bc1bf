"""Who is well: what is heard of backends moves their health here, and whoever is out of service gets a trial in time.

The fleet tells of outcomes, checks and the passing of time; `trial_at` is when the next back-off ends. Each backend's
`Health` knows its own states (`health`), `Silence` who may hang; what concerns several backends is decided here: the
last one that is up is spared, and with nobody in service trials come soon. What changed is in `news`.
"""

import math
from collections.abc import Sequence

from ocr_tcp_lb.balance.backend import Backend
from ocr_tcp_lb.balance.chance import Rng
from ocr_tcp_lb.balance.health import Event, State
from ocr_tcp_lb.balance.lease import Lease
from ocr_tcp_lb.balance.news import News
from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.balance.silence import Silence


class Care:
    """The health of a fleet's backends."""

    __slots__ = ("_backends", "_rng", "_silence", "news", "trial_at")

    def __init__(self, rng: Rng) -> None:
        self._backends: Sequence[Backend] = ()
        self._rng = rng
        self._silence = Silence()
        self.news = News()
        self.trial_at = math.inf

    def take_on(self, backends: Sequence[Backend]) -> None:
        """Look after these from now on."""
        self._backends = backends
        self._schedule()

    def judge(self, lease: Lease, outcome: Outcome, now: float) -> None:
        """Let the outcome of an attempt move its backend's health, if the lease is of the present era."""
        backend = lease.backend
        health = backend.health
        if lease.era != health.era:
            return
        event = health.note(outcome)
        if outcome is Outcome.SILENT and backend.replied_at > lease.granted_at:
            event = Event.NOTHING  # it has answered others since: one request is stuck, not the backend
        if health.may_be_spared(event) and not self._has_other_up(backend):
            event = Event.SPARED
        self._move(backend, event, now)

    def prove(self, lease: Lease, now: float) -> bool:
        """Take a backend for well though the attempt goes on; return whether it was on trial."""
        health = lease.backend.health
        if lease.era != health.era:
            return False
        health.forgive()
        if health.state is not State.TRIAL:
            return False
        self._move(lease.backend, Event.PROVEN, now)
        lease.era = health.era  # what comes of it later is news of this era
        return True

    def check(self, backend: Backend, is_well: bool, now: float, hold_s: float) -> None:
        """Take in a health check of an idle backend; see `Health.note_check`."""
        self._move(backend, backend.health.note_check(is_well, now, hold_s), now)
        self._schedule()

    def begin_trials(self, now: float) -> Sequence[Backend]:
        """Put each backend whose back-off is over on trial, and return them."""
        due = [one for one in self._backends if one.health.state is State.EJECTED and one.health.retry_at <= now]
        for backend in due:
            backend.health.move(Event.BACKOFF_OVER, now, self._rng)
        self._schedule()
        return due

    def review(self, usual_s: float, now: float) -> Sequence[Backend]:
        """Find out who may hang, and who answers again; return those where that changed."""
        changed = self._silence.review(self._backends, usual_s, now)
        for backend, hangs in self._silence.news(self._backends, usual_s, now):
            self.news.silence_changed(backend, hangs)
        if self._silence.nobody_answers:
            self.hasten_trials(now)
        return changed

    def hasten_trials(self, now: float) -> None:
        """With nobody in service who answers, wait no longer for a trial than after a refused connection."""
        if self._silence.nobody_answers or not any(backend.is_in_service for backend in self._backends):
            for backend in self._backends:
                backend.health.hasten(now)
        self._schedule()

    def _move(self, backend: Backend, event: Event, now: float) -> None:
        was = backend.health.state
        if backend.health.move(event, now, self._rng):
            self.news.health_moved(backend, was, event, now)
            self.hasten_trials(now)

    def _has_other_up(self, backend: Backend) -> bool:
        others = (one for one in self._backends if one is not backend)
        return any(one.health.state is State.UP and not one.is_draining for one in others)

    def _schedule(self) -> None:
        ejected = (one.health for one in self._backends if one.health.state is State.EJECTED)
        self.trial_at = min((health.retry_at for health in ejected), default=math.inf)
