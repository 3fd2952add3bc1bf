"""Whose turn it is in an exchange, for how long, and what it means when the time is up.

The client's: it has to send more of its body, or to read its reply, within --idle-timeout. The backend's: it has to
take the body within the same time, and to answer within --response-timeout. The fleet is told the difference, too: what
the client takes is no silence of the backend.
"""

import time

from ocr_tcp_lb.relay.answer import Answer
from ocr_tcp_lb.relay.deadlines import NEVER
from ocr_tcp_lb.relay.failures import AttemptFailed, ClientGone, Refusal, ReplyBroken, StillSilent
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.readers import Readers
from ocr_tcp_lb.relay.request import Request
from ocr_tcp_lb.wire.errors import body_too_slow


class Turns:
    """The deadline of one attempt, kept by its client."""

    __slots__ = ("_hub", "_name", "_progress", "_readers", "_request")

    def __init__(self, hub: Hub, request: Request, name: str) -> None:
        """Watch over an attempt on the backend of this name."""
        self._hub = hub
        self._request = request
        self._name = name
        self._readers = Readers(request.client, request.client.channel)
        self._progress: tuple[int, int, int, bool, bool] | None = None  # what had moved when the deadline was last set

    def begin(self) -> None:
        """Nothing has moved yet, on another connection."""
        self._progress = None

    def waits_for_body(self, is_deaf: bool) -> bool:
        """Whether more of the request is to come, and the client is the one who must send it."""
        upload = self._request.upload
        return upload.streams and not is_deaf and not upload.is_blocked_by_backend

    def set_deadline(self, answer: Answer, is_deaf: bool) -> None:
        """Renew the deadline whenever bytes have moved since it was set, or another side is waited for."""
        upload, waits_for_body = self._request.upload, self.waits_for_body(is_deaf)
        progress = (upload.bytes_sent, answer.taken, answer.moved, answer.is_blocked_by_client, waits_for_body)
        if progress == self._progress:
            return
        self._progress = progress
        if upload.streams:
            self._tell_whose_turn_it_is(answer, waits_for_body)
        timeouts = self._hub.timeouts
        if answer.is_blocked_by_client:
            self._readers.allow(timeouts.idle_s)
            return
        has_request = upload.over or is_deaf or answer.reply is not None
        waits_for_backend = has_request and not waits_for_body
        self._request.client.allow(timeouts.response_s if waits_for_backend else timeouts.idle_s)

    def _tell_whose_turn_it_is(self, answer: Answer, waits_for_body: bool) -> None:
        """What the upload takes is the client's time, but not while the backend takes nothing of it, or must invite."""
        if waits_for_body and self._is_invited(answer):
            answer.wait_for_client()
        else:
            answer.wait_for_backend()

    def _is_invited(self, answer: Answer) -> bool:
        """Whether the client may send its body; not while the backend owes it a 100."""
        request = self._request
        return not request.passes_expectation or answer.taken > 0 or request.upload.bytes_taken > 0

    def end(self, answer: Answer, is_deaf: bool) -> None:
        """The time is up: raise who has let it pass; return if somebody reads after all, slowly."""
        waits_for_body = self.waits_for_body(is_deaf)
        if answer.reply is not None:
            if answer.is_blocked_by_client:
                if self._readers.still_read(self._hub.timeouts.idle_s):
                    return
                raise ClientGone("the client does not read its reply")
            if waits_for_body:
                raise ClientGone("the rest of the request's body did not arrive in time")
            raise ReplyBroken("the backend fell silent inside its reply")
        if waits_for_body:
            if not self._is_invited(answer):
                # The backend owed a 100, and the client need not have waited for it (RFC 9110, 10.1.1). It moves no
                # health: who sends no body could have every backend left out that knows no expectations.
                raise Refusal(504, "backend_silent", f"{self._name} left Expect: 100-continue unanswered")
            raise body_too_slow()
        raise answer.cut_error() if answer.has_held_error else AttemptFailed.by_silence(self._name)


class ImpatientTurns(Turns):
    """For an attempt that may be hedged: raises StillSilent when the backend has said nothing for unusually long."""

    __slots__ = ("_due", "patience_s")

    def __init__(self, hub: Hub, request: Request, name: str) -> None:
        super().__init__(hub, request, name)
        self.patience_s = hub.fleet.patience.limit_s
        self._due = NEVER

    def begin(self) -> None:
        """As of others; and another connection is silent from its own beginning."""
        super().begin()
        self._due = NEVER

    def set_deadline(self, answer: Answer, is_deaf: bool) -> None:
        """As of others, but sooner while nothing was heard."""
        super().set_deadline(answer, is_deaf)
        if self._is_unheard(answer):
            client = self._request.client
            if self._due == NEVER:
                self._due = time.monotonic() + self.patience_s
            client.deadline = min(client.deadline, self._due)

    def end(self, answer: Answer, is_deaf: bool) -> None:
        """As of others, where something was heard."""
        if self._is_unheard(answer) and time.monotonic() >= self._due:
            raise StillSilent
        super().end(answer, is_deaf)

    def _is_unheard(self, answer: Answer) -> bool:
        return self._request.upload.over and not answer.taken
