"""Charts of the last ten minutes as SVG without script: lines and areas over time, in the page's colours.

The drawing is stretched to the page's width, so words stand beside it in HTML, not in it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from ocr_tcp_lb.ops.history import POINTS, STEP_S

WIDTH, HEIGHT = 600, 120
SPAN_S = POINTS * STEP_S
_GRID = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its name, its class for the colour, and its values; None leaves a gap."""

    name: str
    colour: str
    values: Sequence[float | None]
    filled: bool = False


def chart(title: str, unit: str, times: Sequence[float], series: Sequence[Series], now: float) -> str:
    """Return one chart with its caption; `times` are the moments of the values."""
    top = nice_top(max((value for one in series for value in one.values if value is not None), default=0.0))
    places = [WIDTH * (1 - (now - at) / SPAN_S) for at in times]
    legend = "".join(
        f'<li class="{one.colour}">{escape(one.name)} <b>{escape(_latest(one.values))}</b></li>' for one in series
    )
    grid = "".join(f'<path class="grid" d="M0 {HEIGHT * share:g}H{WIDTH}"/>' for share in _GRID)
    drawn = "".join(_draw(one, places, top) for one in series)
    return (
        f"<figure><figcaption><h3>{escape(title)}</h3><ul>{legend}</ul></figcaption>"
        f'<div class="plot"><span class="top">{_number(top)} {escape(unit)}</span>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{escape(title)}">'
        f"{grid}{drawn}</svg></div>"
        '<div class="axis"><span>10 min ago</span><span>5 min</span><span>now</span></div></figure>'
    )


def nice_top(most: float) -> float:
    """Return the next of 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, ... that is not below `most`; at least 1."""
    if most <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= most)


def _draw(one: Series, places: Sequence[float], top: float) -> str:
    shapes = []
    for run in _runs(places, one.values):
        line = "L".join(f"{x:.1f} {HEIGHT - HEIGHT * value / top:.1f}" for x, value in run)
        shapes.append(f'<path class="line {one.colour}" d="M{line}"/>')
        if one.filled:
            area = f"M{run[0][0]:.1f} {HEIGHT}L{line}L{run[-1][0]:.1f} {HEIGHT}Z"
            shapes.append(f'<path class="area {one.colour}" d="{area}"/>')
    return "".join(shapes)


def _runs(places: Sequence[float], values: Sequence[float | None]) -> Iterator[list[tuple[float, float]]]:
    """Yield the stretches without a gap; a lonely value becomes a short dash, or it would not show."""
    run: list[tuple[float, float]] = []
    for place, value in zip(places, values, strict=True):
        if value is not None:
            run.append((place, value))
        elif run:
            yield _visible(run)
            run = []
    if run:
        yield _visible(run)


def _visible(run: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return run if len(run) > 1 else [(run[0][0] - 1, run[0][1]), (run[0][0] + 1, run[0][1])]


def _latest(values: Sequence[float | None]) -> str:
    known = [value for value in values[-15:] if value is not None]  # half a minute
    return _number(known[-1]) if known else "-"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
