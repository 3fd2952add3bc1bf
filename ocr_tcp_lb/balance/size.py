"""What a request's size says about its service time, learned over the whole fleet.

Sizes fall into classes of powers of two. Each class has a factor: its service times relative to the mean of the backend
that served them, so that all backends teach the same table. `factor` is 1 until size has been seen to explain at least
a third of the variance, and always for requests of unknown size.
"""

import math

EXPLAINED_SHARE = 1 / 3  # of the variance of the logarithm, from which on size is believed
TRUSTED_AFTER = 40  # answers in all, and a tenth of that in a class
MEMORY = 0.99  # of 100 answers
CLASS_BLEND = 0.05


class SizeModel:
    """Factors by size class, and how much they explain."""

    __slots__ = (
        "_class_counts",
        "_class_logs",
        "_count",
        "_factors",
        "_left",
        "_mean_log",
        "_mean_ratio",
        "_total",
        "is_believed",
    )

    def __init__(self) -> None:
        self._class_counts: dict[int, int] = {}
        self._class_logs: dict[int, float] = {}
        self._factors: dict[int, float] = {}
        self._count = 0
        self._mean_log = 0.0
        self._mean_ratio = 1.0
        self._total = 0.0  # squares of the deviations from the mean, forgetting
        self._left = 0.0  # and of those that remain when the class is known
        self.is_believed = False  # whether size is worth looking at

    def learn(self, size_bytes: int | None, service_s: float, backend_mean_s: float) -> None:
        """Take in one good answer of a backend whose mean was `backend_mean_s`."""
        if not size_bytes or backend_mean_s <= 0 or service_s <= 0:
            return
        ratio = service_s / backend_mean_s
        log = math.log(ratio)
        number = size_bytes.bit_length()
        self._count += 1
        count = self._class_counts[number] = self._class_counts.get(number, 0) + 1
        blend = max(CLASS_BLEND, 1 / count)
        class_log = self._class_logs.get(number, log)
        if self._count > 1:
            self._total = MEMORY * self._total + (log - self._mean_log) ** 2
            self._left = MEMORY * self._left + (log - class_log) ** 2
        overall_blend = max(1 - MEMORY, 1 / self._count)
        self._mean_log += overall_blend * (log - self._mean_log)
        self._mean_ratio += overall_blend * (ratio - self._mean_ratio)
        self._class_logs[number] = class_log + blend * (log - class_log)
        factor = self._factors.get(number, ratio)
        self._factors[number] = factor + blend * (ratio - factor)
        self.is_believed = self._count >= TRUSTED_AFTER and self._left <= (1 - EXPLAINED_SHARE) * self._total

    @property
    def explained(self) -> float:
        """The share of the variance that size explains, 0 to 1."""
        return max(0.0, 1 - self._left / self._total) if self._total > 0 else 0.0

    def factor(self, size_bytes: int | None) -> float:
        """Return how long a request of this size takes, relative to the mean."""
        if not size_bytes or not self.is_believed:
            return 1.0
        number = size_bytes.bit_length()
        if self._class_counts.get(number, 0) * 10 < TRUSTED_AFTER:
            return 1.0
        return self._factors[number] / self._mean_ratio  # the mean request has factor 1
