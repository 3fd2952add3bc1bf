"""What samples say: medians with their spread, and ratios turn by turn.

A ratio compares two contestants in the *same turn*, then the median of the turns is taken: what slows the whole
machine down for a while cancels out.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence

from bench.runner import Sample

BASELINE = {"http": "haproxy", "tcp": "haproxy-tcp"}  # what the ratios refer to, by mode


def by_contestant(samples: Iterable[Sample]) -> dict[tuple[str, str], list[Sample]]:
    """Samples of one workload by variant and peer, in the order in which they came."""
    found: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        found.setdefault((sample.variant, sample.peer), []).append(sample)
    return found


def turn_by_turn(
    own: Sequence[Sample], other: Sequence[Sample], relate: Callable[[Sample, Sample], float]
) -> list[float]:
    """How one contestant relates to another in each turn that both took."""
    others = {sample.turn: sample for sample in other}
    return [relate(sample, others[sample.turn]) for sample in own if sample.turn in others]


def ratios(own: Sequence[Sample], other: Sequence[Sample]) -> list[float]:
    """CPU time relative to another's, by turn; nothing where one of them has none."""
    if not all(sample.cpu_us for sample in (*own, *other)):
        return []
    return turn_by_turn(own, other, lambda mine, its: mine.cpu_us / its.cpu_us)


def added_ms(own: Sequence[Sample], direct: Sequence[Sample]) -> list[float]:
    """How much longer the median request takes than without a balancer, by turn."""
    return turn_by_turn(own, direct, lambda mine, its: mine.p50_ms - its.p50_ms)


def median(values: Sequence[float]) -> float | None:
    """The median; None of nothing."""
    return statistics.median(values) if values else None


def spread(values: Sequence[float], small: str = ".2f") -> str:
    """Median (least-most), with about three figures, below 10 as `small` says; a dash for nothing."""
    if not values:
        return "-"
    middle, least, most = (_short(value, small) for value in (statistics.median(values), min(values), max(values)))
    return middle if least == most else f"{middle} ({least}-{most})"


def _short(value: float, small: str) -> str:
    return format(value, ",.0f" if abs(value) >= 100 else ".1f" if abs(value) >= 10 else small)
