"""Draw docs/scheduling.svg from the simulator's figures.

    python -m bench.sim --json figures.json && python -m bench.sim_picture figures.json docs/scheduling.svg

For each fleet, the mean latency of each policy relative to the ideal central queue: a dot on a logarithmic scale. Plain
SVG that follows the reader's light or dark colours where it stands in a page of its own.
"""

import html
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

Row = dict[str, float | str]

# What is drawn, and how each is called; the first is on top where they meet.
SERIES = {
    "queue/auto/size": ("queue (default)", "#1a7f37"),
    "queue/auto": ("queue, --order fifo", "#0969da"),
    "least-outstanding/auto": ("least connections", "#bc4c00"),
    "peak-ewma/auto": ("peak EWMA", "#8250df"),
    "round-robin/auto": ("round robin", "#cf222e"),
}
FLEETS = {
    "equal": "three equal workers",
    "4 at once": "each does 4 at once",
    "one 3x slower": "one is 3 times slower",
    "one 10x slower": "one is 10 times slower",
    "bimodal": "90 % small, 10 % large",
    "12 mixed": "12 mixed workers",
    "sharing a CPU": "threads that share a CPU",
    "500 in 2 ms": "one answers 500 at once",
    "drift": "one becomes 5 times slower",
}
LEAST, MOST = 0.7, 10.0  # of the scale; beyond it a dot stands at the edge, with its number
LEFT, RIGHT, TOP, STEP, WIDTH = 210, 44, 78, 30, 780
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 } .small { font-size: 11px; fill: #59636e }
  line { stroke: #d1d9e0 } .ideal { stroke: #1f2328; stroke-dasharray: 4 3 } circle { stroke: #fff }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .small { fill: #9198a1 } line { stroke: #3d444d } .ideal { stroke: #f0f6fc }
    circle { stroke: #0d1117 }
  }
"""


def place(value: float) -> float:
    """Return where a ratio stands on the scale."""
    share = math.log(min(MOST, max(LEAST, value)) / LEAST) / math.log(MOST / LEAST)
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def text(x: float, y: float, words: str, *, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{html.escape(words)}</text>'


def picture(rows: Sequence[Row]) -> str:
    """Return the SVG."""
    means = {(row["fleet"], row["variant"]): float(row["mean"]) for row in rows}
    bottom = TOP + STEP * len(FLEETS)
    parts = [text(10, 20, "Mean latency relative to the ideal central queue, which knows everything")]
    at = 10.0
    for name, colour in SERIES.values():
        parts += [f'<circle cx="{at + 5}" cy="38" r="5" fill="{colour}"/>', text(at + 14, 42, name, kind="small")]
        at += 32 + 6.2 * len(name)
    for mark in (0.7, 1, 1.5, 2, 3, 5, 10):
        kind = "ideal" if mark == 1 else ""
        parts.append(f'<line x1="{place(mark)}" x2="{place(mark)}" y1="{TOP - 14}" y2="{bottom - 8}" class="{kind}"/>')
        parts.append(text(place(mark), TOP - 18, "ideal" if mark == 1 else f"{mark:g}", kind="small", anchor="middle"))
    for number, (fleet, words) in enumerate(FLEETS.items()):
        y = TOP + STEP * number + 8
        parts.append(text(LEFT - 14, y + 4, words, anchor="end"))
        for variant, (name, colour) in reversed(SERIES.items()):
            mean = means[fleet, variant]
            title = f"<title>{html.escape(name)}: {mean:.2f}</title>"
            parts.append(f'<circle cx="{place(mean)}" cy="{y}" r="6" fill="{colour}">{title}</circle>')
            if mean > MOST:
                parts.append(text(WIDTH - RIGHT + 9, y + 4, f"{mean:.0f}", kind="small"))
    frame = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 4}" role="img"'
    return f"<svg {frame}><style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"


def main(arguments: Sequence[str]) -> int:
    figures, out = map(Path, arguments)
    out.parent.mkdir(exist_ok=True)
    out.write_text(picture(json.loads(figures.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
