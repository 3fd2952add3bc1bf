"""How long a backend takes, learned from the replies it really gave.

`ServiceTime` is a mean for "who is fastest"; `PeakEwma` is pessimistic, for the policy of that name. Both
take seconds. Only whole good replies may be fed to them: a worker that fails in 2 ms is broken, not fast.
"""

import math
from typing import Final

TRUSTED_AFTER: Final = 20  # answers averaged before a speed is believed
BLEND: Final = 0.1  # weight of one new answer among steady ones: a memory of about 10 answers
OUTLIER_RATIO: Final = 3.0  # one answer counts for at most this many times the mean
MEMORY_S: Final = 60.0  # after this long without an answer, the next one weighs more than half
EXPIRY_IN_ANSWERS: Final = 20.0  # an estimate lives for this many service times, and never less than MEMORY_S
PEAK_DECAY_S = 10.0  # time constant of the decay; Finagle and tower use 10 s


class ServiceTime:
    """A robust running mean: the first answers averaged without the slowest one, then an EWMA.

    The slowest of the first answers is left out because it is often the one that loaded the model.
    """

    __slots__ = ("_answered_at", "_sample_count", "_slowest_s", "_sum_s", "expected_s", "expires_at", "mean_s")

    def __init__(self) -> None:
        self.mean_s = 0.0
        self.expected_s = 0.0  # the mean, less the doubt in it; see `optimistic_s`
        self.expires_at = math.inf
        self._sample_count = 0
        self._sum_s = 0.0
        self._slowest_s = 0.0
        self._answered_at = 0.0

    def learn(self, sample_s: float, now: float) -> None:
        """Take in one good answer that took `sample_s` and ended at `now`."""
        gap_s = now - self._answered_at
        self._answered_at = now
        mean_s = self.mean_s
        if self._sample_count >= TRUSTED_AFTER:
            most_s = OUTLIER_RATIO * mean_s
            blend = (BLEND * MEMORY_S + gap_s) / (MEMORY_S + gap_s)
            mean_s += blend * ((sample_s if sample_s < most_s else most_s) - mean_s)
            self.mean_s = self.expected_s = mean_s
        else:
            self._average(sample_s)
            if self._sample_count < TRUSTED_AFTER:
                self.expires_at = now + MEMORY_S  # or a first answer that loaded the model would be the last one
                return
            mean_s = self.mean_s
        life_s = EXPIRY_IN_ANSWERS * mean_s
        self.expires_at = now + (life_s if life_s > MEMORY_S else MEMORY_S)

    def _average(self, sample_s: float) -> None:
        self._sample_count = count = self._sample_count + 1
        self._sum_s += sample_s
        self._slowest_s = max(self._slowest_s, sample_s)
        self.mean_s = self._sum_s / count if count < 3 else (self._sum_s - self._slowest_s) / (count - 1)
        is_trusted = count >= TRUSTED_AFTER
        self.expected_s = self.mean_s if is_trusted else self.mean_s * (1 - 1 / math.sqrt(count + 1))

    def is_known(self, now: float) -> bool:
        """Whether there is a speed to rely on: one that is trusted and has not expired."""
        return self._sample_count >= TRUSTED_AFTER and now <= self.expires_at

    def optimistic_s(self, now: float) -> float:
        """Return what to expect of it when choosing: the mean, less the doubt in it; 0 where nothing is known.

        Optimism makes a backend with few answers, or with one unlucky answer, get the next one. An estimate that
        nothing confirmed for long counts as none, so that a worker which got faster is found again.
        """
        return self.expected_s if now <= self.expires_at else 0.0


class PeakEwma:
    """A pessimist: jumps to a slower answer at once, and comes down over `PEAK_DECAY_S` (Finagle, tower)."""

    __slots__ = ("_answered_at", "_value_s")

    def __init__(self) -> None:
        self._value_s = 0.0
        self._answered_at = 0.0

    def learn(self, sample_s: float, now: float) -> None:
        """Take in one good answer that took `sample_s` and ended at `now`."""
        if sample_s < self._value_s:
            kept = math.exp((self._answered_at - now) / PEAK_DECAY_S)
            sample_s += kept * (self._value_s - sample_s)
        self._value_s = sample_s
        self._answered_at = now

    def value_s(self, now: float) -> float:
        """Return the estimate decayed to `now`; zero before the first answer."""
        return self._value_s * math.exp((self._answered_at - now) / PEAK_DECAY_S)
