"""The access log: one line a request, as text or JSON, formatted from `Record`s.

Text, in this order (`-` where there is nothing):
time, request id, client, "method target", status, bytes of the body in/out as they were sent, backend, attempts,
queue/connect/first-byte/total milliseconds, how it ended.

`queue` is the wait for a backend, `connect` from there to the connection, `first-byte` from there to the reply's
head, `total` from the request's head to the end.
"""

import json
import time
from collections.abc import Callable

from ocr_tcp_lb.ops.words import rounded_ms
from ocr_tcp_lb.relay.record import Record

Formatter = Callable[[Record], bytes]  # a line, its newline included


class Clock:
    """Wall-clock stamps for records, which carry monotonic times; the text of a second is made once."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset_s = wall() - monotonic()
        self._second = -1
        self._text = b""

    def parts(self, monotonic_s: float) -> tuple[bytes, int]:
        """Date and time in UTC up to the second, and the millisecond."""
        moment = monotonic_s + self._offset_s
        second = int(moment)
        if second != self._second:
            self._offset_s = self._wall() - self._monotonic()  # the wall clock is set now and then, or slept
            moment = monotonic_s + self._offset_s
            self._second = second = int(moment)
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        return self._text, int((moment - second) * 1000)

    def stamp(self, monotonic_s: float) -> str:
        """RFC 3339 in UTC with milliseconds."""
        second, millisecond = self.parts(monotonic_s)
        return f"{second.decode()}.{millisecond:03d}Z"


# What is usual goes through one template, in bytes as it came; all have the same 16 values in the same order. Measured:
# 1.3 us a line; an f-string takes 2.0, `json` 5.4 (`python -m tests.ops.cost`).
_TEXT = b'%b.%03dZ %b %b "%b %b" %d %d/%d %b %d %.1f/%.1f/%.1f/%.1f %b\n'
_UNSTAMPED = b"%.0b%.0a" + _TEXT.removeprefix(b"%b.%03dZ ")  # the first two, in no characters
_JSON = (
    b'{"time":"%b.%03dZ","id":"%b","client":"%b","method":"%b","target":"%b","status":%d,"bytes_in":%d,"bytes_out":%d,'
    b'"backend":"%b","attempts":%d,"queue_ms":%.1f,"connect_ms":%.1f,"first_byte_ms":%.1f,"total_ms":%.1f,"end":"%b"}\n'
)
_CAREFREE = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\')


def text_formatter(clock: Clock, *, stamped: bool = True) -> Formatter:
    """Lines for people and grep; without `stamped` they leave the time to whoever takes them, as the journal does."""
    return _quick(_TEXT if stamped else _UNSTAMPED, clock, lambda record: any_text(record, clock, stamped=stamped))


def json_formatter(clock: Clock) -> Formatter:
    """One JSON object a line, for machines; phases that were not reached are null."""
    return _quick(_JSON, clock, lambda record: any_json(record, clock))


def _quick(template: bytes, clock: Clock, format_any: Callable[[Record], str]) -> Formatter:
    """Format by the template what was served and has no character that would need care, and leave the rest."""

    def format_record(record: Record) -> bytes:
        leased, connected, answered = record.leased, record.connected, record.answered
        request_id, method, target = record.request_id, record.method, record.target
        needs_care = (request_id + method + target).translate(None, _CAREFREE)
        if needs_care or not (leased and connected and answered and record.status):
            return format_any(record).encode()
        ended = record.ended
        second, millisecond = clock.parts(ended)
        return template % (
            second,
            millisecond,
            request_id,
            record.client.encode(),
            method,
            target,
            record.status,
            record.bytes_in,
            record.bytes_out,
            record.backend.encode(),
            record.attempts,
            (leased - record.asked) * 1e3,
            (connected - leased) * 1e3,
            (answered - connected) * 1e3,
            (ended - record.began) * 1e3,
            record.ending.encode(),
        )

    return format_record


def any_text(record: Record, clock: Clock, *, stamped: bool = True) -> str:
    """Return the line for any record."""
    queue, connect, first, total = _phases(record)
    time_of_day = f"{clock.stamp(record.ended)} " if stamped else ""
    return (
        f"{time_of_day}{printable(record.request_id)} {record.client} "
        f'"{printable(record.method)} {printable(record.target)}" {record.status or "-"} '
        f"{record.bytes_in}/{record.bytes_out} {record.backend} {record.attempts} "
        f"{_ms(queue)}/{_ms(connect)}/{_ms(first)}/{_ms(total)} {record.ending}\n"
    )


def any_json(record: Record, clock: Clock) -> str:
    """Return the object for any record, as a line."""
    queue, connect, first, total = _phases(record)
    values = {
        "time": clock.stamp(record.ended),
        "id": record.request_id.decode("latin-1"),  # as they came: JSON has escapes of its own
        "client": record.client,
        "method": record.method.decode("latin-1"),
        "target": record.target.decode("latin-1"),
        "status": record.status or None,
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
        "backend": None if record.backend == "-" else record.backend,
        "attempts": record.attempts,
        "queue_ms": rounded_ms(queue),
        "connect_ms": rounded_ms(connect),
        "first_byte_ms": rounded_ms(first),
        "total_ms": rounded_ms(total),
        "end": record.ending,
    }
    return json.dumps(values, separators=(",", ":")) + "\n"


def json_report(count: int, why: str) -> bytes:
    """Say as a line of JSON how many lines were dropped, and why."""
    return json.dumps({"dropped": count, "why": why}, separators=(",", ":")).encode() + b"\n"


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


def printable(data: bytes) -> str:
    """Wire bytes as text that cannot break a line or fool a terminal: quotes and controls are escaped."""
    text = data.decode("latin-1")
    if text.isascii() and text.isprintable() and '"' not in text:
        return text
    return text.encode("unicode_escape").decode("ascii").replace('"', "%22")
