"""What goes wrong with bytes: one error a side, carrying what its catcher decides on.

A `RequestError` is the client's mistake and is answered to it with `status`; a `ReplyError` is the backend's
mistake and becomes a 502. Both mean that the connection they came from is at an unknown place: close it.
"""

from collections.abc import Callable
from typing import Literal

from ocr_tcp_lb.errors import LoadBalancerError

Side = Literal["client", "backend"]


class ProtocolError(LoadBalancerError):
    """Bytes that are not HTTP/1.1 as we accept it; raise one of the two subclasses.

    `side` sent them, `status` and the snake_case `code` are the answer to the client, `message` is one
    English sentence without a full stop, free of bytes that the sender chose.
    """

    def __init__(self, side: Side, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.side = side
        self.status = status
        self.code = code
        self.message = message

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status} {self.code}: {self.message}>"


class RequestError(ProtocolError):
    """The client broke a rule."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__("client", status, code, message)


class ReplyError(ProtocolError):
    """The backend broke a rule; the client learns only that the gateway is bad (RFC 9110, 15.6.3)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__("backend", status, code, message)


Fault = Callable[[str], ProtocolError]
"""Makes the error of one side for a broken syntax rule, so that shared grammar need not know its side."""


def bad_request(message: str) -> RequestError:
    """Make the plain 400."""
    return RequestError(400, "bad_request", message)


def too_large(limit: int) -> RequestError:
    """Make what a body over the limit is refused with."""
    return RequestError(413, "body_too_large", f"the body is larger than the limit of {limit} bytes")


def bad_reply(message: str) -> ReplyError:
    """Make the plain 502."""
    return ReplyError(502, "bad_reply", message)
