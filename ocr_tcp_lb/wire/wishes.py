"""What a request asks of the scheduler: how urgent it is, and how long its client will wait.

`priority` reads X-Priority, whose word only trusted clients should be taken at; `patience_s` reads
X-Request-Deadline-Ms and `Prefer: wait` (RFC 7240, 4.3). Both are preferences: what is malformed is ignored, as RFC
7240, 2 asks, and both return None where nothing is asked. `RequestHead.has_wishes` says at no cost whether to look.
"""

import re

from ocr_tcp_lb.wire.head import RequestHead

_digit = re.compile(rb"[0-9]").fullmatch
_whole_number = re.compile(rb"[0-9]{1,9}").fullmatch
_wait = re.compile(rb"""(?:^|,)[ \t]*wait[ \t]*=[ \t]*("?)([0-9]{1,9})\1[ \t]*(?=$|[,;])""", re.IGNORECASE).search


def priority(head: RequestHead) -> int | None:
    """Return 0 (the most urgent) to 9, as asked for."""
    value = head.value(b"x-priority")
    return int(value) if _digit(value) else None


def patience_s(head: RequestHead) -> float | None:
    """Return for how many seconds from now an answer is of use; the shorter time if two are named."""
    found = []
    deadline = head.value(b"x-request-deadline-ms")
    if _whole_number(deadline):
        found.append(int(deadline) / 1000)
    waits = _wait(head.value(b"prefer"))
    if waits:
        found.append(float(waits[2]))
    return min(found, default=None)
