"""What becomes of the records of finished requests: they are collected, and counted and written many at a time.

One by one, between the steps of other requests, the same work takes twice as long, since the processor's caches hold
something else each time: 4.6 us a request against 2.3 (`python -m bench --workloads features --peers ours`). Whoever
reads the counters gets them from here, and the records that wait are counted first; so nobody sees the delay.
"""

import asyncio
from dataclasses import dataclass

from ocr_tcp_lb.ops.accesslog import Formatter
from ocr_tcp_lb.ops.outlet import Outlet
from ocr_tcp_lb.ops.tally import Tally
from ocr_tcp_lb.relay.record import Record

MOST_RECORDS = 256  # half a millisecond's work
LATEST_S = 0.1


@dataclass(frozen=True, slots=True)
class AccessLog:
    """How a record becomes a line, and where the line goes."""

    format_record: Formatter
    outlet: Outlet


class Intake:
    """Takes records on the loop's thread; `take` is what the relay calls for each."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tally: Tally | None, access_log: AccessLog | None) -> None:
        self._loop = loop
        self._tally = tally
        self._access_log = access_log
        self._records: list[Record] = []
        self._timer: asyncio.TimerHandle | None = None

    @property
    def tally(self) -> Tally:
        """The counters, with all that has ended in them."""
        self.flush()
        assert self._tally is not None, "whoever reads counters has them kept"
        return self._tally

    @property
    def lines_dropped(self) -> int | None:
        """Lines of the access log that were lost; None where there is no such log."""
        return self._access_log.outlet.dropped if self._access_log is not None else None

    def take(self, record: Record) -> None:
        """Take one record; it is counted and written soon."""
        records = self._records
        records.append(record)
        if self._timer is None:
            self._timer = self._loop.call_later(LATEST_S, self._pass_on)
        elif len(records) >= MOST_RECORDS:
            self.flush()

    def flush(self) -> None:
        """Count what waits, and make its lines."""
        records, self._records = self._records, []
        if self._tally is not None:
            self._tally.note(records)
        if self._access_log is not None:
            format_record = self._access_log.format_record
            self._access_log.outlet.write([format_record(record) for record in records])

    def _pass_on(self) -> None:
        self._timer = None
        self.flush()
        if self._access_log is not None:
            self._access_log.outlet.pass_on()

    def close(self) -> None:
        """Count and write the last, and wait for the writing."""
        if self._timer is not None:
            self._timer.cancel()
        self.flush()
        if self._access_log is not None:
            self._access_log.outlet.close()
