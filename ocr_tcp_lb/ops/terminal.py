"""The state of a running balancer as a table for the terminal: `ocr-tcp-lb status`.

`draw` makes text of what `/status.json` says; `watch` shows it anew every second until interrupted. Colours and the
clearing of the screen are for terminals only.
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.ops import words
from ocr_tcp_lb.ops.printing import put
from ocr_tcp_lb.ops.words import Mood, Status

REFRESH_S = 1.0
MOST_SLOTS_DRAWN = 12
RECENT_ERRORS = 5

_CLEAR = "\x1b[H\x1b[J"
_COLOURS = {"green": "32", "yellow": "33", "red": "31", "bold": "1", "dim": "2"}
_MOODS: dict[Mood, str] = {"good": "green", "fair": "yellow", "bad": "red"}

Row = Sequence[str]


class Brush:
    """Puts colour on text, or leaves it."""

    def __init__(self, *, coloured: bool) -> None:
        self._coloured = coloured

    def __call__(self, text: str, colour: str) -> str:
        """Return the text in a colour."""
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self._coloured else text


class UnknownStatus(LoadBalancerError):
    """The status is not what a balancer of this version says."""


def draw(status: Status, *, coloured: bool = False) -> str:
    """Return the whole table; raises UnknownStatus."""
    try:
        return _draw(status, Brush(coloured=coloured))
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise UnknownStatus("this is the status of no balancer of this version") from error


def _draw(status: Status, brush: Brush) -> str:
    lines = [*_summary(status, brush), "", *_fleet(status["backends"], brush)]
    if status["recent_errors"]:
        lines += ["", brush("latest errors", "bold"), *_errors(status["recent_errors"][:RECENT_ERRORS])]
    return "\n".join(lines)


def watch(fetch: Callable[[], Status], out: TextIO = sys.stdout, *, rest_s: float = REFRESH_S) -> None:
    """Show what `fetch` returns again and again, until nobody reads it, `fetch` raises or Ctrl-C comes."""
    is_terminal = out.isatty()
    while True:
        text = draw(fetch(), coloured=is_terminal)
        ending = f"{time.strftime('%H:%M:%S')}  Ctrl-C ends this" if is_terminal else ""
        if not put(f"{_CLEAR if is_terminal else ''}{text}\n\n{ending}".removesuffix("\n"), out):
            return
        time.sleep(rest_s)


def _summary(status: Status, brush: Brush) -> list[str]:
    state, mood = words.readiness(status)
    speed = "  ".join(f"{name} {words.milliseconds(value)}" for name, value in status["duration_ms"].items())
    rate = f"{words.figure(status['history'][-1]['requests_per_s'])}/s  " if status["history"] else ""
    buffered = f"{status['buffer_bytes'] / 2**20:.1f}/{status['buffer_limit_bytes'] / 2**20:.0f} MiB"
    return [
        f"{brush('ocr-tcp-lb', 'bold')} {status['version']}  {brush(state, _MOODS[mood])}  "
        f"up {words.span(status['up_s'])}  "
        f"{status['mode']}, policy {status['policy']}, {status['loop']} loop, on {', '.join(status['listen'])}",
        f"now       {status['in_flight']} at work  {status['waiting']}/{status['queue_size']} waiting  "
        f"{status['connections']}/{status['connections_limit']} clients  {buffered} held",
        f"requests  {status['requests']:,}  {rate}{status['errors']:,} errors ({words.error_share(status)})  "
        f"{status['retries']:,} retries  {speed}",
    ]


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
        cells[1] = brush(cells[1], _MOODS[words.state(one)[1]])
        lines.append("  ".join(cells).rstrip())
    return lines


def _row(one: Status) -> Row:
    return (one["name"], ", ".join(words.state(one)[0]), _slots(one), *words.figures(one), one["url"])


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
