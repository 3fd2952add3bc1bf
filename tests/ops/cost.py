"""What the counters cost a request: `python -m tests.ops.cost`."""

import timeit

from ocr_tcp_lb.ops.tally import Tally
from ocr_tcp_lb.relay.record import Record

COUNT = 200_000


def sample() -> Record:
    record = Record("127.0.0.1", b"id", b"POST", b"/get_ocr")
    record.status, record.bytes_in, record.bytes_out, record.backend, record.attempts = 200, 1000, 20, "b1", 1
    record.began, record.asked, record.leased, record.connected = 100.0, 100.0, 100.001, 100.002
    record.answered, record.ended = 100.2, 100.201
    return record


if __name__ == "__main__":
    note, record = Tally().note, sample()
    best_s = min(timeit.repeat(lambda: note(record), number=COUNT, repeat=5))
    print(f"{best_s / COUNT * 1e6:.2f} us a request")
