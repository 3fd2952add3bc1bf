"""The access log: one line a request, as text or JSON, formatted from `Record`s.

Text, in this order (`-` where there is nothing):
time, request id, client, "method target", status, body bytes in/out, backend, attempts,
queue/connect/first-byte/total milliseconds, how it ended.

`queue` is the wait for a backend, `connect` from there to the connection, `first-byte` from there to the reply's
head, `total` from the request's head to the end.
"""

import functools
import json
import time
from collections.abc import Callable

from ocr_tcp_lb.relay.record import Record

Formatter = Callable[[Record], str]
MOST_KNOWN_TEXTS = 1024


class Clock:
    """Wall-clock stamps for records, which carry monotonic times; the text of a second is made once."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._offset_s = wall() - monotonic()
        self._second = -1
        self._text = ""

    def stamp(self, monotonic_s: float) -> str:
        """RFC 3339 in UTC with milliseconds."""
        moment = monotonic_s + self._offset_s
        second = int(moment)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{int((moment - second) * 1000):03d}Z"


def text_formatter(clock: Clock, *, stamped: bool = True) -> Formatter:
    """Lines for people and grep; without `stamped` they leave the time to whoever takes them, as the journal does."""

    def format_record(record: Record) -> str:
        queue, connect, first, total = _phases(record)
        time_of_day = f"{clock.stamp(record.ended)} " if stamped else ""
        return (
            f"{time_of_day}{printable(record.request_id)} {record.client} "
            f'"{printable(record.method)} {printable(record.target)}" {record.status or "-"} '
            f"{record.bytes_in}/{record.bytes_out} {record.backend} {record.attempts} "
            f"{_ms(queue)}/{_ms(connect)}/{_ms(first)}/{_ms(total)} {record.ending}\n"
        )

    return format_record


def json_formatter(clock: Clock) -> Formatter:
    """One JSON object a line, for machines; phases that were not reached are null.

    Written out, because a `JSONEncoder` takes 6.7 us for the object and this 2.9; it still encodes every text.
    """
    quoted = json.JSONEncoder().encode
    known = functools.lru_cache(MOST_KNOWN_TEXTS)(quoted)  # the same few clients, backends and endings again and again
    stamp = clock.stamp

    def format_record(record: Record) -> str:
        queue, connect, first, total = _phases(record)
        return (
            f'{{"time":"{stamp(record.ended)}","id":{quoted(printable(record.request_id))},'
            f'"client":{known(record.client)},"method":{quoted(printable(record.method))},'
            f'"target":{quoted(printable(record.target))},"status":{record.status or "null"},'
            f'"bytes_in":{record.bytes_in},"bytes_out":{record.bytes_out},'
            f'"backend":{"null" if record.backend == "-" else known(record.backend)},'
            f'"attempts":{record.attempts},"queue_ms":{_json_ms(queue)},"connect_ms":{_json_ms(connect)},'
            f'"first_byte_ms":{_json_ms(first)},"total_ms":{_json_ms(total)},"end":{known(record.ending)}}}\n'
        )

    return format_record


def _phases(record: Record) -> tuple[float | None, float | None, float | None, float]:
    """Seconds of the four phases; None where the request did not get that far."""
    return (
        record.leased - record.asked if record.leased else None,
        record.connected - record.leased if record.connected else None,
        record.answered - record.connected if record.answered else None,
        record.ended - record.began,
    )


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.1f}"


def _json_ms(seconds: float | None) -> str:
    return "null" if seconds is None else f"{seconds * 1e3:.1f}"


def printable(data: bytes) -> str:
    """Wire bytes as text that cannot break a line or fool a terminal: quotes and controls are escaped."""
    text = data.decode("latin-1")
    if text.isascii() and text.isprintable() and '"' not in text:
        return text
    return text.encode("unicode_escape").decode("ascii").replace('"', "%22")
