"""A request on its way: what the rooms' parts know of it together, handed from exchange to attempt."""

from dataclasses import dataclass

from ocr_tcp_lb.relay.client import Client
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.relay.upload import Upload
from ocr_tcp_lb.wire.head import RequestHead


@dataclass(slots=True)
class Request:
    """Who asks, what for, with which body, and the record that is being filled in.

    `passes_expectation`: `Expect: 100-continue` is the backend's to answer, because the body is larger than what
    would be held here anyway.
    """

    client: Client
    head: RequestHead
    upload: Upload
    record: Record
    passes_expectation: bool
