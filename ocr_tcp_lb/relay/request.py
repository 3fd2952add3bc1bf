"""A request on its way: what the parts of the relay know of it together, handed from exchange to attempt."""

from typing import NamedTuple

from ocr_tcp_lb.balance.lease import Lease
from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.gathering import passes_expectation
from ocr_tcp_lb.relay.held_body import HeldBody
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.relay.upload import Upload
from ocr_tcp_lb.relay.upstream import BackendConnection
from ocr_tcp_lb.wire.head import ReplyHead, RequestHead


def own_fields(record: Record, answered_at: float) -> bytes:
    """The fields that the balancer adds to a final reply: its id, and where the time went, in milliseconds.

    `Server-Timing` (W3C) tells the caller what waiting in the queue took, and what the backend took, the connecting
    to it included, until the reply began. It costs 0.4 us, and half of that for who did not wait.
    """
    leased = record.leased
    if leased == record.began:
        spent = b"%.1f" % ((answered_at - leased) * 1e3)
        return b"X-Request-Id: %b\r\nServer-Timing: queue;dur=0.0, backend;dur=%b, total;dur=%b\r\n" % (
            record.request_id,
            spent,
            spent,
        )
    return b"X-Request-Id: %b\r\nServer-Timing: queue;dur=%.1f, backend;dur=%.1f, total;dur=%.1f\r\n" % (
        record.request_id,
        (leased - record.asked) * 1e3,
        (answered_at - leased) * 1e3,
        (answered_at - record.began) * 1e3,
    )


def debug_fields(record: Record) -> bytes:
    """What `--debug-headers` tells of the way of a reply."""
    return b"X-Backend: %b\r\nX-Attempts: %d\r\n" % (record.backend.encode("ascii"), record.attempts)


def added_fields(hub: Hub, record: Record, reply: ReplyHead, answered_at: float) -> bytes:
    """All that a final reply of a backend gets; the express lane, which never debugs, puts it together itself."""
    fields = own_fields(record, answered_at)
    if hub.config.debug_headers:
        fields += debug_fields(record)
    return fields if reply.is_dated else fields + hub.date.line(answered_at)


class Request:
    """Who asks, what for, with which body, and the record that is being filled in."""

    __slots__ = ("_hub", "client", "deadline", "head", "lease", "passes_expectation", "record", "upload")

    lease: Lease  # of the attempt that is under way

    def __init__(self, hub: Hub, client: Client, head: RequestHead, upload: HeldBody | Upload, record: Record) -> None:
        self._hub = hub
        self.client = client
        self.head = head
        self.upload = upload
        self.record = record
        self.deadline: float | None = None  # when the answer is of no more use
        self.passes_expectation = passes_expectation(hub, head)  # `Expect: 100-continue` is the backend's to answer

    @property
    def may_run_twice(self) -> bool:
        """Whether the method (RFC 9110 section 9.2.2) or the operator says that running it again does no harm."""
        return self.head.is_idempotent or self._hub.config.replay_post


class Begun(NamedTuple):
    """An attempt that is under way: what went out of the request, and what came back so far."""

    connection: BackendConnection
    sent: int  # bytes
    data: bytes
    unsent: bytes = b""  # of a request that came whole; an `Upload` knows by itself
