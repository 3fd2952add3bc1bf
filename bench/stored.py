"""Results as JSON: every single sample, and where, when and how they were taken."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.runner import Sample


@dataclass(frozen=True, slots=True)
class Conditions:
    """Where, when and how the run was made."""

    command: str
    date: str
    machine: str
    load_average: float
    versions: dict[str, str]


def write(path: Path, samples: Sequence[Sample], where: Conditions, left_out: Sequence[str]) -> None:
    """Write a run."""
    data = {"conditions": asdict(where), "left_out": list(left_out), "samples": [asdict(sample) for sample in samples]}
    path.write_text(json.dumps(data, indent=1) + "\n")


def read(path: Path) -> tuple[list[Sample], Conditions]:
    """Read one again."""
    data = json.loads(path.read_text())
    return [Sample(**one) for one in data["samples"]], Conditions(**data["conditions"])
