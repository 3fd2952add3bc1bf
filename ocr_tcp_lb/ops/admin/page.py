"""The status page: one self-contained HTML file, drawn here and complete without script.

Its script only fetches the page again every two seconds and puts the new content in the place of the old one. All
text that comes from outside is escaped here; besides, the page's policy allows no other style or script than its own.
"""

import base64
import hashlib
import re
import time
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from ocr_tcp_lb.ops import words
from ocr_tcp_lb.ops.admin.chart import Series, chart
from ocr_tcp_lb.ops.admin.http import Reply
from ocr_tcp_lb.ops.admin.report import Report

MOST_SLOTS_DRAWN = 24
SHOWN_ERRORS = 20
_COLUMNS = ("Backend", "State", "Slots", "Mean", "p95", "Requests", "Errors", "")


def render(state: Report) -> Reply:
    """Return the page."""
    template, policy = _template()
    html = template.replace("<!--content-->", content(state)).replace(
        "<!--title-->", escape(words.readiness(state)[0].capitalize())
    )
    fields = {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",  # a framed button could be clicked unawares
        "Referrer-Policy": "same-origin",  # so that the buttons' Origin says whose they are
    }
    return Reply(200, html.encode(), "text/html; charset=utf-8", fields)


@cache
def _template() -> tuple[str, str]:
    """The file, and the policy that names the hashes of its own style and script."""
    text = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    style, script = (_hash(text, tag) for tag in ("style", "script"))
    return text, (
        f"default-src 'none'; style-src {style}; script-src {script}; connect-src 'self'; img-src data:; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


def _hash(text: str, tag: str) -> str:
    match = re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    assert match is not None, f"the page has a {tag}"
    return f"'sha256-{base64.b64encode(hashlib.sha256(match[1].encode()).digest()).decode()}'"


def content(state: Report) -> str:
    """Return everything that changes."""
    return "".join((_header(state), _tiles(state), _charts(state), _fleet(state), _errors(state)))


def _header(state: Report) -> str:
    ready, mood = words.readiness(state)
    about = f"{state['mode']}, policy {state['policy']}, {state['loop']} loop"
    return (
        f'<header><h1>ocr-tcp-lb</h1><span class="pill {mood}">{ready.capitalize()}</span>'
        f"<p>{escape(', '.join(state['listen']))} · {escape(about)} · version {escape(state['version'])} · "
        f"up {words.span(state['up_s'])}</p></header>"
    )


def _tiles(state: Report) -> str:
    recent = state["history"][-1] if state["history"] else None
    held = f"{state['buffer_bytes'] / 2**20:,.1f}"
    rate = words.figure(recent["requests_per_s"]) if recent else "-"
    tiles = (
        ("Requests a second", rate, f"{state['requests']:,} so far"),
        ("At work", str(state["in_flight"]), f"{state['connections']} clients connected"),
        ("Waiting", str(state["waiting"]), f"of {state['queue_size']} places"),
        (
            "Median time",
            words.milliseconds(state["duration_ms"]["p50"]),
            f"p99 {words.milliseconds(state['duration_ms']['p99'])}",
        ),
        ("Errors", f"{state['errors']:,}", f"{words.error_share(state)} · {state['retries']:,} retries"),
        ("Bodies held", f"{held} MiB", f"of {state['buffer_limit_bytes'] / 2**20:,.0f} MiB"),
    )
    cells = (f"<div><dt>{name}</dt><dd>{value}</dd><dd>{more}</dd></div>" for name, value, more in tiles)
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def _charts(state: Report) -> str:
    history, now = state["history"], time.time()
    times = [point["at"] for point in history]

    def series(name: str, colour: str, key: str, *, filled: bool = False, of: float = 1.0) -> Series:
        values = [point[key] for point in history]
        return Series(name, colour, [value and value / of for value in values], filled)

    in_seconds = any((point["p99_ms"] or 0.0) >= 1000 for point in history)
    unit, of = ("s", 1000.0) if in_seconds else ("ms", 1.0)

    rate = [series("requests", "c1", "requests_per_s", filled=True), series("errors", "c4", "errors_per_s")]
    shares = (("p50", "c1"), ("p95", "c2"), ("p99", "c3"))
    latency = [series(name, colour, f"{name}_ms", of=of) for name, colour in shares]
    queue = [series("waiting", "c2", "waiting", filled=True), series("at work", "c1", "in_flight")]
    return (
        '<section class="charts" aria-label="The last ten minutes">'
        + "".join(
            (
                chart("Requests", "/s", times, rate, now),
                chart("Time to answer", unit, times, latency, now),
                chart("Queue", "requests", times, queue, now),
            )
        )
        + "</section>"
    )


def _fleet(state: Report) -> str:
    rows = "".join(_backend(one) for one in state["backends"])
    return f"<section><h2>Backends</h2>{_table('fleet', _COLUMNS, rows)}</section>"


def _table(kind: str, names: Sequence[str], rows: str) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _backend(one: dict[str, Any]) -> str:
    name = escape(one["name"])
    action, label = ("undrain", "Put back") if one["is_draining"] else ("drain", "Drain")
    values = (_state(one), _slots(one), *words.figures(one))
    cells = zip(_COLUMNS[1:-1], values, strict=True)
    button = f'<form method="post" action="/control/backends/{name}/{action}"><button>{label}</button></form>'
    shown = "".join(f'<td data-label="{label}">{value}</td>' for label, value in cells)
    return f'<tr><th scope="row">{name}<small>{escape(one["url"])}</small></th>{shown}<td>{button}</td></tr>'


def _state(one: dict[str, Any]) -> str:
    said, mood = words.state(one)
    return f'<span class="pill {mood}">{escape(" · ".join(said))}</span>'


def _slots(one: dict[str, Any]) -> str:
    """A bar of squares, filled as far as they are taken; and what is believed of the number."""
    taken, limit = one["in_flight"], one["limit"]
    drawn = min(max(taken, int(limit) if limit is not None else taken), MOST_SLOTS_DRAWN)
    squares = "".join(
        f'<rect class="{"taken" if number < taken else "free"}" x="{13 * number}" width="10" height="14" rx="2"/>'
        for number in range(drawn)
    )
    bar = f'<svg class="slots" width="{max(13 * drawn - 3, 1)}" height="14" aria-hidden="true">{squares}</svg>'
    count = f"{taken} / {limit:g}" if limit is not None else f"{taken}, no limit"
    return f"{bar} {count}{_belief(one['belief'])}"


def _belief(evidence: str) -> str:
    """How the number of slots is known, if it was learned; the evidence shows when pointed at."""
    if not evidence.startswith("learned"):
        return ""
    return f'<small title="{escape(evidence)}">{escape(evidence.partition(",")[0])}</small>'


def _errors(state: Report) -> str:
    errors = state["recent_errors"][:SHOWN_ERRORS]
    if not errors:
        return "<section><h2>Recent errors</h2><p class=none>None.</p></section>"
    names = ("Time", "Status", "Ending", "Backend", "Request", "Took", "Client", "Id")
    rows = "".join(_error(one, names) for one in errors)
    return f"<section><h2>Recent errors</h2>{_table('errors', names, rows)}</section>"


def _error(one: dict[str, Any], names: Sequence[str]) -> str:
    values = (
        one["at"][11:19],
        str(one["status"] or "-"),
        one["ending"].replace("_", " "),
        one["backend"] + (f" ({one['attempts']} attempts)" if one["attempts"] > 1 else ""),
        f"{one['method']} {one['target']}",
        words.milliseconds(one["total_ms"]),
        one["client"],
        one["request_id"],
    )
    cells = zip(names, values, strict=True)
    return f"<tr>{''.join(f'<td data-label={name}>{escape(value)}</td>' for name, value in cells)}</tr>"
