"""What is counted of every finished request: `Tally.note` is told all of them, some at a time, in their order.

Counters only grow. They are kept by backend (`-`: none was reached) and hold exactly one count for each `Record`,
so they agree with the access log line by line. Measured: 0.7 us a request, 3 % of the cheapest one
(`python -m tests.ops.cost`).
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable

from ocr_tcp_lb.balance.outcome import Outcome, outcome_of
from ocr_tcp_lb.ops.histogram import FINE_SERVICE_BOUNDS_S, Histogram
from ocr_tcp_lb.relay.record import Record

KEPT_ERRORS = 50
TUNNEL = 101  # its hours are not how long a request took
FIRST_ERROR = 400
FAULTLESS = frozenset({"ok", "tunnel", "client_left", "idle_timeout"})


class BackendTally:
    """The counts of the requests whose last attempt was on one backend."""

    __slots__ = ("bytes_in", "bytes_out", "duration", "endings", "service")

    def __init__(self) -> None:
        self.endings: dict[tuple[int, str], int] = {}  # by status and ending
        self.duration = Histogram()  # from the request's head to the end; no tunnels
        self.service = Histogram()  # from the connection to the first byte of the reply
        self.bytes_in = 0
        self.bytes_out = 0

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(self.endings.values())

    @property
    def errors(self) -> int:
        """Those in which the service failed; see `is_error`."""
        return sum(count for (status, ending), count in self.endings.items() if is_error(status, ending))


def is_error(status: int, ending: str) -> bool:
    """Whether the service failed: an error of a server, or a reply that broke off; not what is the client's doing."""
    if status < FIRST_ERROR:
        return ending not in FAULTLESS
    return outcome_of(status) is Outcome.SERVER_ERROR


class Tally:
    """The counts of all requests."""

    def __init__(self) -> None:
        self.backends: dict[str, BackendTally] = {}
        self.waits = Histogram()  # in the queue, of those that got a backend
        self.retries = 0  # attempts after a request's first
        self.recent_errors: deque[Record] = deque(maxlen=KEPT_ERRORS)

    def of(self, name: str) -> BackendTally:
        """Return the counts of a backend; zeros if there are none yet."""
        return self.backends.setdefault(name, BackendTally())

    def note(self, records: Iterable[Record]) -> None:
        """Count finished requests. Written out at length: this runs for every request."""
        backends, waits = self.backends, self.waits
        for record in records:
            status, ending = record.status, record.ending
            try:
                backend = backends[record.backend]
            except KeyError:
                backend = self.of(record.backend)
            endings, key = backend.endings, (status, ending)
            endings[key] = endings.get(key, 0) + 1
            if status != TUNNEL:
                duration = backend.duration
                value = record.ended - record.began
                duration.counts[bisect_left(FINE_SERVICE_BOUNDS_S, value)] += 1
                duration.sum_s += value
            leased, answered = record.leased, record.answered
            if leased:
                value = leased - record.asked
                waits.counts[bisect_left(FINE_SERVICE_BOUNDS_S, value)] += 1
                waits.sum_s += value
                if record.attempts > 1:
                    self.retries += record.attempts - 1
            if answered:
                service = backend.service
                value = answered - record.connected
                service.counts[bisect_left(FINE_SERVICE_BOUNDS_S, value)] += 1
                service.sum_s += value
            backend.bytes_in += record.bytes_in
            backend.bytes_out += record.bytes_out
            if (status >= 500 or ending != "ok") and is_error(status, ending):
                self.recent_errors.append(record)

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(backend.requests for backend in self.backends.values())

    @property
    def errors(self) -> int:
        """Those in which the service failed."""
        return sum(backend.errors for backend in self.backends.values())

    def duration_counts(self) -> list[int]:
        """The fine buckets of the durations of all requests."""
        rows = [backend.duration.counts for backend in self.backends.values()]
        return [sum(column) for column in zip(*rows, strict=True)] if rows else [0] * (len(FINE_SERVICE_BOUNDS_S) + 1)
