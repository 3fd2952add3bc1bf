"""The doctor's visit: services examined one after the other, told as it goes, and a configuration at the end.

What is found goes to standard error, the TOML to standard output, so that `doctor ... > lb.toml` keeps it.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import replace

from ocr_tcp_lb.config import BackendConfig
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.ops.doctor.examine import Findings, Sample, examine
from ocr_tcp_lb.ops.printing import put

WELL, ILL = 0, 1


def visit(backends: Sequence[BackendConfig], sample_path: str) -> int:
    """Examine all of them; returns the exit code: 1 if one will not work as it is. Raises LoadBalancerError."""
    sample = _read_sample(sample_path) if sample_path else None
    findings = [_examine_aloud(backend, sample) for backend in backends]
    usable = [one for one in findings if one.path]
    if usable:
        _tell("\nA configuration for what was found:\n")
        put(render(usable))
    if sample is None:
        _tell("With --sample image.png, their true concurrency would be measured too.")
    return ILL if any(one.bad for one in findings) else WELL


def render(findings: Sequence[Findings]) -> str:
    """Return TOML with the backends as they were found."""
    blocks = []
    for found in findings:
        lines = ["[[backend]]", f"url = {json.dumps(replace(found.backend, path=found.path).url)}"]
        lines.append(f"name = {json.dumps(found.backend.name)}")
        if found.concurrency:
            lines.append(f"concurrency = {found.concurrency}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _examine_aloud(backend: BackendConfig, sample: Sample | None) -> Findings:
    _tell(f"\n{backend.name}  {backend.url}")
    found = asyncio.run(examine(backend, sample, _progress))
    _progress("")
    for mark, lines in (("ok", found.good), ("note", found.notes), ("PROBLEM", found.bad)):
        for line in lines:
            _tell(f"  {mark:<7}  {line}")
    return found


def _progress(step: str) -> None:
    """Show what is being done, on a line that what is found then overwrites; only where there is a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{f'  ...      {step}' if step else ''}")
        sys.stderr.flush()


def _read_sample(path: str) -> Sample:
    try:
        with open(path, "rb") as file:
            return Sample(path.rpartition("/")[2], file.read())
    except (OSError, ValueError) as error:
        raise LoadBalancerError(f"--sample: cannot read {path}: {error}") from error


def _tell(line: str) -> None:
    put(line, sys.stderr)
