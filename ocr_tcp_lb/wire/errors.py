"""What goes wrong with bytes: one error a side.

A `RequestError` is the client's mistake, and carries what is answered to it; a `ReplyError` is the backend's, and what
becomes of it the relay decides. Both mean that the connection they came from is at an unknown place: close it.
"""

from collections.abc import Callable

from ocr_tcp_lb.errors import LoadBalancerError


class ProtocolError(LoadBalancerError):
    """Bytes that are not HTTP/1.1 as we accept it; raise one of the two subclasses.

    `message` is one English sentence without a full stop, free of bytes that the sender chose.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RequestError(ProtocolError):
    """The client broke a rule; `status` and the snake_case `code` are the answer to it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def __repr__(self) -> str:
        return f"<RequestError {self.status} {self.code}: {self.message}>"


class ReplyError(ProtocolError):
    """The backend broke a rule; the client is told nothing of it, or `backend_broke`, or its reply is cut short."""


Fault = Callable[[str], ProtocolError]
"""Makes the error of one side for a broken syntax rule, so that shared grammar need not know its side."""


def bad_request(message: str) -> RequestError:
    """Make the plain 400."""
    return RequestError(400, "bad_request", message)


def too_large(limit: int) -> RequestError:
    """Make what a body over the limit is refused with."""
    return RequestError(413, "body_too_large", f"the body is larger than the limit of {limit} bytes")


def body_too_slow() -> RequestError:
    """Make what a body that does not come on is refused with."""
    return RequestError(408, "body_timeout", "the request's body did not arrive in time")
