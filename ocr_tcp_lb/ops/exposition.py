"""Prometheus' text format, version 0.0.4: families of samples in, text out.

https://prometheus.io/docs/instrumenting/exposition_formats/ : one HELP and one TYPE line a family, its samples
together, label values with backslash, quote and newline escaped, counters named `_total`, a histogram's buckets
cumulative and ended by `+Inf`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ocr_tcp_lb.ops.histogram import Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})

Labels = Mapping[str, str]
NO_LABELS: Labels = {}


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name, what it says, and its samples as lines of text."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "".join((f"# HELP {self.name} {self.help}\n# TYPE {self.name} {self.kind}\n", *self.lines))


def counter(name: str, help_text: str, samples: Iterable[tuple[Labels, float]]) -> Family:
    """Make a family of counters; the name ends in `_total`, as the conventions ask."""
    assert name.endswith("_total"), name
    return Family(name, "counter", help_text, _lines(name, samples))


def gauge(name: str, help_text: str, samples: Iterable[tuple[Labels, float]]) -> Family:
    """Make a family of gauges."""
    return Family(name, "gauge", help_text, _lines(name, samples))


def histogram(name: str, help_text: str, samples: Iterable[tuple[Labels, Histogram]]) -> Family:
    """Make a family of histograms; the name ends in the unit."""
    lines: list[str] = []
    for labels, one in samples:
        total = one.count
        inside = _inside(labels)
        bucket = f'{name}_bucket{{{inside}{"," if inside else ""}le="'  # once, since most lines of a page are buckets
        lines += [f'{bucket}{_number(bound)}"}} {count}\n' for bound, count in one.cumulative()]
        lines.append(f'{bucket}+Inf"}} {total}\n')
        lines += [_line(f"{name}_sum", labels, one.sum_s), _line(f"{name}_count", labels, total)]
    return Family(name, "histogram", help_text, tuple(lines))


def _lines(name: str, samples: Iterable[tuple[Labels, float]]) -> tuple[str, ...]:
    return tuple(_line(name, labels, value) for labels, value in samples)


def _line(name: str, labels: Labels, value: float) -> str:
    inside = _inside(labels)
    return f"{name}{{{inside}}} {_number(value)}\n" if inside else f"{name} {_number(value)}\n"


def _inside(labels: Labels) -> str:
    return ",".join([f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels.items()])


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(int(value)) if isinstance(value, bool) else repr(value)
