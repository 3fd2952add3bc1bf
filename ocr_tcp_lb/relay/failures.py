"""How an exchange can fail, in the words that its catcher decides on: whose fault, what to answer, may it run again.

OS errors are translated into these once, where a socket is touched. Protocol errors come from `wire`.
"""

from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.relay.held_reply import HeldReply


class ClientGone(LoadBalancerError):
    """The client closed, broke off or stopped reading: there is nobody left to answer."""


class ReplyBroken(LoadBalancerError):
    """The reply broke off after the client had got the beginning of it: all that is left is to break off too."""


class SourceBroke(LoadBalancerError):
    """A flow's source closed or broke before its body had ended."""


class SinkBroke(LoadBalancerError):
    """A flow's sink takes no more bytes, ever."""


class StillSilent(LoadBalancerError):
    """The backend has had the whole request for unusually long, and said nothing."""


class Refusal(LoadBalancerError):
    """The balancer itself answers the request, with this status and code."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class AttemptFailed(LoadBalancerError):
    """One attempt on one backend came to nothing, and no byte of a final reply reached the client.

    `nothing_sent` says that the backend cannot have seen any of the request, so any method may be tried elsewhere.
    `reply` is the whole error that the backend answered with, if it could be held.
    """

    def __init__(
        self, outcome: Outcome, message: str, *, nothing_sent: bool = False, reply: HeldReply | None = None
    ) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.message = message
        self.nothing_sent = nothing_sent
        self.reply = reply

    @classmethod
    def by_silence(cls, name: str) -> "AttemptFailed":
        """Make that of a backend that has said nothing for as long as it may."""
        return cls(Outcome.SILENT, f"{name} did not answer in time")

    def as_refusal(self) -> Refusal:
        """What the client is told when no other attempt is allowed (RFC 9110 sections 15.6.3 and 15.6.5)."""
        match self.outcome:
            case Outcome.CONNECT_FAILED:
                return Refusal(503, "no_backend", self.message, retry_after_s=1)
            case Outcome.SILENT:
                return Refusal(504, "backend_silent", self.message)
            case _:
                return Refusal(502, "backend_broke", self.message)
