"""The doctor's visit: services examined one after the other, told as it goes, and a configuration at the end.

What is found goes to standard error, the TOML to standard output, so that `doctor ... > lb.toml` keeps it.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence

from ocr_tcp_lb.config import BackendConfig, Config
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.ops.doctor.examine import examine
from ocr_tcp_lb.ops.doctor.findings import Findings
from ocr_tcp_lb.ops.doctor.sample import Sample
from ocr_tcp_lb.ops.printing import harmless, put

WELL, ILL = 0, 1

Render = Callable[[Sequence[BackendConfig]], str]


def visit(config: Config, sample_path: str, render: Render) -> int:
    """Examine all backends; returns the exit code: 1 if one will not work as it is. Raises LoadBalancerError.

    `render` makes TOML of the backends as they were found.
    """
    sample = _read_sample(sample_path) if sample_path else None
    findings = [_examine_aloud(backend, config, sample) for backend in config.backends]
    usable = list(_distinct([one.proposal for one in findings if one.path]))
    if usable:
        _tell("\nA configuration for what was found:\n")
        put(render(usable))
    if sample is None and config.mode == "http":
        _tell("With --sample image.png, their true concurrency would be measured too.")
    return ILL if any(one.bad for one in findings) else WELL


def _distinct(backends: Sequence[BackendConfig]) -> Iterator[BackendConfig]:
    """Leave out what is there twice: two paths that were told may have been found to be one."""
    names: dict[str, str] = {}
    for one in backends:
        if one.url in names:
            _tell(f"\n{one.name} is left out: {one.url} is {names[one.url]} already")
        else:
            names[one.url] = one.name
            yield one


def _examine_aloud(backend: BackendConfig, config: Config, sample: Sample | None) -> Findings:
    _tell(f"\n{backend.name}  {backend.url}")
    found = asyncio.run(examine(backend, config, sample, _progress))
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
            data = file.read()
    except (OSError, ValueError) as error:
        raise LoadBalancerError(f"--sample: cannot read {path}: {error}") from error
    if not data:
        raise LoadBalancerError(f"--sample: {path} is empty; name an image as your clients send it")
    return Sample(path.rpartition("/")[2], data)


def _tell(line: str) -> None:
    """Say it; what services said of themselves cannot fool the terminal."""
    put(harmless(line), sys.stderr)
