"""Draw CPU time for a request relative to HAProxy's, workload by workload: a dot for each balancer.

    python -m bench.picture bench/results/cpu-....json docs/cpu.svg

Logarithmic; what is left of the line costs less than HAProxy. Plain SVG that follows the reader's light or dark colours
where it stands in a page of its own; the dots are told apart by their shape, too.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import stored, workloads
from bench.figures import BASELINE, by_contestant, median, ratios
from bench.runner import Sample
from bench.sim_picture import STYLE, text

# What is drawn, how each is called, its colour and its mark; the first is on top where they meet.
SERIES = {
    "ours": ("ocr_tcp_lb", "#1a7f37", "circle"),
    "ours-other": ("the other ocr_tcp_lb", "#4ac26b", "ring"),
    "haproxy-copying": ("HAProxy without splicing", "#6e7781", "circle"),
    "nginx": ("nginx", "#0969da", "square"),
    "envoy": ("Envoy", "#8250df", "diamond"),
    "aiohttp": ("aiohttp script", "#bc4c00", "square"),
    "flask": ("Flask script", "#cf222e", "diamond"),
}
SAME = {"ours-tcp": "ours", "ours-other-tcp": "ours-other"}
MARKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
LEFT, RIGHT, TOP, STEP, WIDTH = 336, 24, 78, 26, 890
Row = tuple[str, dict[str, float]]


def rows_of(samples: Sequence[Sample]) -> list[Row]:
    """A row for each workload and variant that HAProxy ran, too: what it is called, and the ratios by series."""
    rows: list[Row] = []
    for name in dict.fromkeys(sample.workload for sample in samples):
        workload = workloads.BY_NAME[name]
        contestants = by_contestant(sample for sample in samples if sample.workload == name)
        for variant in dict.fromkeys(variant for variant, _ in contestants):
            base = contestants.get((variant, BASELINE[workload.mode]), [])
            found = {
                SAME.get(peer, peer): ratio
                for (theirs, peer), own in contestants.items()
                if theirs == variant and (ratio := median(ratios(own, base))) is not None
            }
            if any(peer in SERIES for peer in found):
                rows.append((workload.titled(variant), {peer: found[peer] for peer in SERIES if peer in found}))
    return rows


def picture(samples: Sequence[Sample], caption: str) -> str:
    """Return the SVG; nothing when there is nothing to compare."""
    rows = rows_of(samples)
    if not rows:
        return ""
    ratios_drawn = [ratio for _, found in rows for ratio in found.values()]
    least = min(0.5, *ratios_drawn)
    scale = Scale(max((mark for mark in MARKS if mark <= least), default=least), max(2, *ratios_drawn))
    bottom = TOP + STEP * len(rows)
    parts = [text(10, 20, "CPU time for a request relative to HAProxy's in the same turns"), *_legend()]
    for value in MARKS:
        if scale.least <= value <= scale.most:
            x, kind = scale.place(value), "ideal" if value == 1 else ""
            parts.append(f'<line x1="{x}" x2="{x}" y1="{TOP - 14}" y2="{bottom - 8}" class="{kind}"/>')
            words = "HAProxy" if value == 1 else f"{value:g}"
            parts.append(text(x, TOP - 18, words, kind="small", anchor="middle"))
    for number, (words, found) in enumerate(rows):
        y = TOP + STEP * number + 6
        parts.append(text(LEFT - 14, y + 4, words, anchor="end"))
        parts += [mark(peer, scale.place(found[peer]), y, f"{found[peer]:.2f}") for peer in reversed(found)]
    parts.append(text(10, bottom + 14, caption, kind="small"))
    frame = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 24}" role="img"'
    return f"<svg {frame}><style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"


class Scale:
    """Where a ratio stands."""

    def __init__(self, least: float, most: float) -> None:
        self.least = least / 1.1
        self.most = most * 1.1

    def place(self, value: float) -> float:
        share = math.log(value / self.least) / math.log(self.most / self.least)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _legend() -> list[str]:
    parts, at = [], 10.0
    for peer, (name, _, _) in SERIES.items():
        parts += [mark(peer, at + 5, 38, ""), text(at + 14, 42, name, kind="small")]
        at += 32 + 6.2 * len(name)
    return parts


def mark(peer: str, x: float, y: float, value: str) -> str:
    """One dot, with its number where a mouse asks for it."""
    name, colour, shape = SERIES[peer]
    title = f"<title>{name}: {value}</title>" if value else ""
    if shape == "circle":
        return f'<circle cx="{x}" cy="{y}" r="6" fill="{colour}">{title}</circle>'
    if shape == "ring":
        style = f'style="stroke: {colour}; stroke-width: 2"'
        return f'<circle cx="{x}" cy="{y}" r="4.5" fill="none" {style}>{title}</circle>'
    turned = f' transform="rotate(45 {x} {y})"' if shape == "diamond" else ""
    return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9" fill="{colour}"{turned}>{title}</rect>'


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 2:
        print(
            "give a result and a picture: python -m bench.picture bench/results/cpu-....json docs/cpu.svg",
            file=sys.stderr,
        )
        return 2
    result, out = map(Path, arguments)
    samples, where = stored.read(result)
    out.parent.mkdir(exist_ok=True)
    out.write_text(picture(samples, f"{where.machine}, {where.date}"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
