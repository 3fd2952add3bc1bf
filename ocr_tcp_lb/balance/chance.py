"""The source of chance that this room is given: the part of `random.Random` that it uses, and no more."""

from typing import Protocol


class Rng(Protocol):
    """A random number generator; `random.Random` satisfies it, and so does a test's fixed sequence."""

    def random(self) -> float:
        """Return the next float, uniform in [0, 1)."""
