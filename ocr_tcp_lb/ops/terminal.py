"""The state of a running balancer as a table for the terminal: `ocr-tcp-lb status`.

`draw` makes text of what `/status.json` says; `watch` shows it anew every second until interrupted. Colours and the
clearing of the screen are for terminals only.
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

REFRESH_S = 1.0
MOST_SLOTS_DRAWN = 12
RECENT_ERRORS = 5

_CLEAR = "\x1b[H\x1b[J"
_COLOURS = {"green": "32", "yellow": "33", "red": "31", "bold": "1", "dim": "2"}
_STATE_COLOURS = {"up": "green", "trial": "yellow", "ejected": "red"}

Status = dict[str, Any]
Row = Sequence[str]


class Brush:
    """Puts colour on text, or leaves it."""

    def __init__(self, *, coloured: bool) -> None:
        self._coloured = coloured

    def __call__(self, text: str, colour: str) -> str:
        """Return the text in a colour."""
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self._coloured else text


def draw(status: Status, *, coloured: bool = False) -> str:
    """Return the whole table."""
    brush = Brush(coloured=coloured)
    lines = [*_summary(status, brush), "", *_fleet(status["backends"], brush)]
    if status["recent_errors"]:
        lines += ["", brush("latest errors", "bold"), *_errors(status["recent_errors"][:RECENT_ERRORS])]
    return "\n".join(lines)


def watch(fetch: Callable[[], Status], out: TextIO = sys.stdout, *, rest_s: float = REFRESH_S) -> None:
    """Show what `fetch` returns again and again, until it raises or Ctrl-C comes."""
    is_terminal = out.isatty()
    while True:
        text = draw(fetch(), coloured=is_terminal)
        out.write(
            f"{_CLEAR}{text}\n\n{time.strftime('%H:%M:%S')}  Ctrl-C ends this\n" if is_terminal else f"{text}\n\n"
        )
        out.flush()
        time.sleep(rest_s)


def _summary(status: Status, brush: Brush) -> list[str]:
    state, colour = _readiness(status)
    share = 100 * status["errors"] / status["requests"] if status["requests"] else 0.0
    speed = "  ".join(f"{name} {_ms(value)}" for name, value in status["duration_ms"].items())
    rate = f"{status['history'][-1]['requests_per_s']:g}/s  " if status["history"] else ""
    buffered = f"{status['buffer_bytes'] / 2**20:.1f}/{status['buffer_limit_bytes'] / 2**20:.0f} MiB"
    return [
        f"{brush('ocr-tcp-lb', 'bold')} {status['version']}  {brush(state, colour)}  up {_span(status['up_s'])}  "
        f"{status['mode']}, policy {status['policy']}, {status['loop']} loop, on {', '.join(status['listen'])}",
        f"now       {status['in_flight']} at work  {status['waiting']}/{status['queue_size']} waiting  "
        f"{status['connections']}/{status['connections_limit']} clients  {buffered} held",
        f"requests  {status['requests']:,}  {rate}{status['errors']:,} errors ({share:.2g} %)  "
        f"{status['retries']:,} retries  {speed}",
    ]


def _readiness(status: Status) -> tuple[str, str]:
    if status["is_draining"]:
        return "draining", "yellow"
    return ("ready", "green") if status["is_ready"] else ("no backend in service", "red")


def _fleet(backends: Sequence[Status], brush: Brush) -> list[str]:
    head = ("backend", "state", "slots", "mean", "p95", "requests", "errors", "address")
    rows = [_row(one) for one in backends]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    numbers = {3, 4, 5, 6}

    def line(row: Row) -> list[str]:
        cells = zip(row, widths, range(len(head)), strict=True)
        return [text.rjust(width) if column in numbers else text.ljust(width) for text, width, column in cells]

    lines = [brush("  ".join(line(head)).rstrip(), "dim")]
    for row, one in zip(rows, backends, strict=True):
        cells = line(row)
        cells[1] = brush(cells[1], "yellow" if one["is_draining"] else _STATE_COLOURS.get(one["state"], "dim"))
        lines.append("  ".join(cells).rstrip())
    return lines


def _row(one: Status) -> Row:
    state = f"{one['state']}, draining" if one["is_draining"] else one["state"]
    if one["trial_in_s"] is not None:
        state += f", trial in {one['trial_in_s']:.0f} s"
    mean = _ms(one["service_ms"] or None)
    counts = (f"{one['requests']:,}", f"{one['errors']:,}")
    return (one["name"], state, _slots(one), mean, _ms(one["p95_ms"]), *counts, one["url"])


def _slots(one: Status) -> str:
    """`■■□□ 2/4`; a number alone where there are too many to draw, or no limit."""
    taken, limit = one["in_flight"], one["limit"]
    if limit is None:
        return f"{taken}/auto"
    if limit > MOST_SLOTS_DRAWN:
        return f"{taken}/{limit:g}"
    return f"{'■' * taken}{'□' * int(limit - taken)} {taken}/{limit:g}"


def _errors(errors: Sequence[Status]) -> list[str]:
    return [
        f"{one['at'][11:19]}  {one['status'] or '-':>3}  {one['backend']:<8}  {one['ending']:<16}  "
        f"{one['method']} {one['target'][:60]}  {one['request_id']}"
        for one in errors
    ]


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"


def _span(seconds: float) -> str:
    """Two units are enough: `3 d 4 h`, `12 min 5 s`."""
    for unit, size, below, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} {seconds % size // small:.0f} {below}"
    return f"{seconds:.0f} s"
