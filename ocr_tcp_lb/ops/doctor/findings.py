"""What was found out about one service, in words that say what to do."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ocr_tcp_lb.config import BackendConfig

Say = Callable[[str], object]


@dataclass(slots=True)
class Findings:
    """What was found out about one service."""

    backend: BackendConfig
    good: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)  # it will not work like this
    notes: list[str] = field(default_factory=list)  # it works, and there is something to know
    path: str = ""  # the one that answers; empty: none
    concurrency: int = 0  # measured; 0: not, or not clearly

    @property
    def proposal(self) -> BackendConfig:
        """The backend as it was told, with what was found."""
        return replace(
            self.backend,
            path=self.path or self.backend.path,
            concurrency=self.concurrency or self.backend.concurrency,
        )
