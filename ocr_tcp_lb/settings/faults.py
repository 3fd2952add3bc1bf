"""Faults of a configuration: where each one stands, what is wrong, and what would be right.

An operator fixes a configuration in one go, so nothing here stops at the first fault: readers append to a
list of `Fault`, and whoever owns the list raises one `ConfigError` with all of them. A parser of one value
does not know where the value stands; it raises `BadValue`, and its caller adds the place.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from ocr_tcp_lb.errors import LoadBalancerError


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing to correct: where (`lb.toml: backend[2].weight`), what is wrong, what would be right."""

    where: str
    wrong: str
    right: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.wrong}; {self.right}" if self.right else f"{self.where}: {self.wrong}"


class ConfigError(LoadBalancerError):
    """The configuration cannot be used; `faults` lists every reason, in the order they were found."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))


class BadValue(ValueError):
    """A value that its parser refuses: what is wrong with it, and what would be right."""

    def __init__(self, wrong: str, right: str = "") -> None:
        super().__init__(wrong, right)
        self.wrong = wrong
        self.right = right

    def at(self, where: str) -> Fault:
        """Return this refusal as a fault of the place `where`."""
        return Fault(where, self.wrong, self.right)


def did_you_mean(word: str, known: Iterable[str], shown: str = "{}") -> str:
    """Return `did you mean X?` for the known name nearest to `word`, else the list of all known names.

    `shown` says how a name is written at that place: `--{}` on a command line.
    """
    names = list(known)
    near = get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {shown.format(near[0])}?"
    return "known are " + ", ".join(shown.format(name) for name in names)
