"""What it costs to count a request and to write its line, in microseconds: `python -m tests.ops.cost`.

The processor's caches are as warm as can be here. In a running balancer, beside the requests themselves:
`python -m bench --workloads features --peers ours`.
"""

import timeit
from collections.abc import Callable

from ocr_tcp_lb.ops.accesslog import Clock, json_formatter, text_formatter
from ocr_tcp_lb.ops.intake import MOST_RECORDS
from ocr_tcp_lb.ops.tally import Tally
from ocr_tcp_lb.relay.record import Record

COUNT = 200
REPEATS = 50


def sample() -> Record:
    record = Record("192.168.17.33", b"61a527a319c400000007", b"POST", b"/get_ocr?page=1")
    record.status, record.bytes_in, record.bytes_out, record.backend, record.attempts = 200, 1000, 20, "b1", 1
    record.began, record.asked, record.leased, record.connected = 100.0, 100.0, 100.001, 100.002
    record.answered, record.ended = 100.2, 100.201
    return record


def show(name: str, work: Callable[[list[Record]], object]) -> None:
    records = [sample() for _ in range(MOST_RECORDS)]
    best_s = min(timeit.repeat(lambda: work(records), number=COUNT, repeat=REPEATS))
    print(f"{name:10}  {best_s / COUNT / MOST_RECORDS * 1e6:.2f}")


if __name__ == "__main__":
    show("counting", Tally().note)
    for name, formatter in (("text line", text_formatter(Clock())), ("JSON line", json_formatter(Clock()))):
        show(name, lambda records, format_record=formatter: list(map(format_record, records)))  # type: ignore[misc]
