"""h11 as the second reader of every head that we have not seen the like of.

Our own rules come first because they are stricter and know which status to answer; then h11 must accept the
same bytes and read the same field names. It needs 25-40 us a head, which is why shapes are remembered.
"""

from collections.abc import Sequence

import h11

from ocr_tcp_lb.wire.errors import ReplyError, RequestError, bad_request
from ocr_tcp_lb.wire.fields import Field


def confirm_request(raw: bytes, fields: Sequence[Field]) -> None:
    """Raise `RequestError` unless h11 reads a request with these fields."""
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(raw)
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        status = error.error_status_hint
        raise RequestError(status, "bad_request", "h11 refuses this head") from error
    if not (isinstance(event, h11.Request) and _same_names(event, fields)):
        raise bad_request("h11 reads this head in another way")


def confirm_reply(raw: bytes, method: bytes, fields: Sequence[Field]) -> None:
    """Raise `ReplyError` unless h11 reads a reply (also a 1xx) to that method with these fields."""
    connection = h11.Connection(h11.CLIENT)
    asked = [("Host", "h"), ("Connection", "Upgrade"), ("Upgrade", "any")]  # else it refuses every 101
    connection.send(h11.Request(method=method, target="/", headers=asked))
    connection.send(h11.EndOfMessage())
    try:
        connection.receive_data(raw)
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise ReplyError("the backend sent a head that h11 refuses") from error
    if not (isinstance(event, h11.Response | h11.InformationalResponse) and _same_names(event, fields)):
        raise ReplyError("the backend sent a head that h11 reads in another way")


def _same_names(event: h11.Request | h11.Response | h11.InformationalResponse, fields: Sequence[Field]) -> bool:
    """Compare names only: h11 normalizes the values of the two framing fields."""
    return [name for name, _ in event.headers.raw_items()] == [name for name, _ in fields]
