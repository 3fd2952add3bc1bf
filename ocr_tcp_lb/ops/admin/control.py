"""Changes that an operator makes at run time: `POST /control/...`. One table says which there are.

`POST /control/do` takes `{"words": [...]}`, the words of `ocr-tcp-lb control`, which the hall follows.
Each action is answered with the state it led to, and logged with who asked for it only as far as the admin listener
can know that: it was let in.
"""

import json
import logging
import re
from collections.abc import Callable, Sequence

from ocr_tcp_lb.balance.backend import Backend
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.ops.admin.http import Reply, Request, error_reply, json_reply
from ocr_tcp_lb.relay.hub import Hub

log = logging.getLogger(__name__)

Action = Callable[[Backend], None]
Do = Callable[[Sequence[str]], str]  # follows a command; returns what was done, or raises LoadBalancerError
WORDS_PATH = "/control/do"
_BACKEND = re.compile(r"/control/backends/(?P<name>[A-Za-z0-9_.-]{1,64})/(?P<action>[a-z]+)")
PAGE_FORM = "application/x-www-form-urlencoded"


class Control:
    """Does what it is asked to, at once; whether it may be asked is `gate`'s to decide."""

    def __init__(self, hub: Hub, do: Do | None = None) -> None:
        self._hub = hub
        self._do = do
        self._backend_actions: dict[str, Action] = {"drain": hub.drain, "undrain": hub.undrain}

    def answer(self, request: Request) -> Reply:
        """Do one action. A form of the status page is sent back to the page."""
        if request.path == WORDS_PATH and self._do is not None:
            return _follow(self._do, request.body)
        match = _BACKEND.fullmatch(request.path)
        if match is None or match["action"] not in self._backend_actions:
            known = ", ".join(f"/control/backends/NAME/{action}" for action in self._backend_actions)
            return error_reply(404, "no_such_action", f"known are {known}")
        backend = next((one for one in self._hub.fleet.backends if one.name == match["name"]), None)
        if backend is None:
            names = ", ".join(one.name for one in self._hub.fleet.backends)
            return error_reply(404, "no_such_backend", f"there is no backend {match['name']}; known are {names}")
        self._backend_actions[match["action"]](backend)
        log.info("control: %s %s", match["action"], backend.name)
        if request.fields.get("content-type", "").startswith(PAGE_FORM):
            return Reply(303, fields={"Location": "/"})  # a button, where there is no script
        state = {"backend": backend.name, "is_draining": backend.is_draining, "in_flight": backend.in_flight}
        return json_reply(200, state)


def _follow(do: Do, body: bytes) -> Reply:
    try:
        words = json.loads(body)["words"]
        if not all(isinstance(word, str) for word in words):
            raise TypeError(words)
    except (ValueError, TypeError, KeyError, RecursionError):
        return error_reply(400, "bad_request", 'send {"words": ["drain", "b1"]}')
    try:
        return json_reply(200, {"done": do(words)})
    except LoadBalancerError as error:
        return error_reply(422, "not_done", str(error))  # RFC 9110 section 15.5.21
