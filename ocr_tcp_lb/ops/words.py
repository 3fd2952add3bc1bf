"""Figures in words, the same on the status page and in the terminal; made of what `/status.json` says.

And `rounded_ms`, by which all that is for machines says a time.
"""

from decimal import Decimal
from typing import Any, Literal

Status = dict[str, Any]
Mood = Literal["good", "fair", "bad"]
LEAST_S_IN_MS = 999.5  # with three digits, this is 1 s
_MOODS: dict[str, Mood] = {"up": "good", "trial": "fair", "ejected": "bad"}


def readiness(status: Status) -> tuple[str, Mood]:
    """Can it serve?"""
    if status["is_draining"]:
        return "draining", "fair"
    return ("ready", "good") if status["is_ready"] else ("no backend in service", "bad")


def state(backend: Status) -> tuple[list[str], Mood]:
    """What a backend is, the most telling first."""
    is_passed_over = backend["is_silent"] and backend["state"] == "up"
    words = ["silent" if is_passed_over else backend["state"]]
    if backend["trial_in_s"] is not None:
        words.append(f"trial in {backend['trial_in_s']:.0f} s")
    if backend["tunnels"]:
        words.append(f"{backend['tunnels']} tunnels")
    if not backend["is_draining"]:
        return words, _MOODS.get(words[0], "fair")
    return ["draining", *words[backend["state"] == "up" :]], "fair"


def figures(backend: Status) -> tuple[str, str, str, str]:
    """Mean service time, 95th percentile of all of it, requests, errors."""
    times = milliseconds(backend["service_ms"] or None), milliseconds(backend["p95_ms"])
    return (*times, f"{backend['requests']:,}", f"{backend['errors']:,}")


def error_share(status: Status) -> str:
    """Errors in per cent of the requests."""
    share = 100 * status["errors"] / status["requests"] if status["requests"] else 0.0
    return f"{figure(share, 2)} %"


def figure(value: float, digits: int = 3) -> str:
    """A number with so many digits that say something, and never with an exponent: `0.000033`, `12.3`, `1,230`."""
    return f"{Decimal(f'{value:.{digits}g}'):,f}"


def milliseconds(value: float | None) -> str:
    """A time, in seconds from 1 s on; `-` for none."""
    if value is None:
        return "-"
    return f"{figure(value)} ms" if value < LEAST_S_IN_MS else f"{figure(value / 1000)} s"


def rounded_ms(seconds: float | None) -> float | None:
    """A time for machines, in milliseconds to a tenth; None for none."""
    return None if seconds is None else round(seconds * 1000, 1)


def span(seconds: float) -> str:
    """Two units are enough: `3 d 4 h`, `12 min 5 s`."""
    for unit, size, below, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} {seconds % size // small:.0f} {below}"
    return f"{seconds:.0f} s"
