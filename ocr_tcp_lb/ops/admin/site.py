"""The paths of the admin listener. Each is one exact text: nothing is looked up in a file system.

GET `/` `/status.json` `/metrics` `/healthz` `/readyz`; POST `/control/...`. HEAD is answered as GET.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable

from ocr_tcp_lb.ops import exposition, metrics
from ocr_tcp_lb.ops.admin import page
from ocr_tcp_lb.ops.admin.control import Control, Do
from ocr_tcp_lb.ops.admin.gate import READING, Gate
from ocr_tcp_lb.ops.admin.http import Reply, Request, error_reply, json_reply
from ocr_tcp_lb.ops.admin.report import report
from ocr_tcp_lb.ops.monitor import Monitor

CONTROL = "/control/"
_NUMBER = re.compile("[0-9]{1,15}").fullmatch


class Site:
    """Answers requests; made of what is asked and what is known."""

    def __init__(self, monitor: Monitor, gate: Gate, do: Do | None = None) -> None:
        self._monitor = monitor
        self._gate = gate
        self._control = Control(monitor.hub, do)
        self._pages: dict[str, Callable[[Request], Awaitable[Reply]]] = {
            "/": self._page,
            "/status.json": self._status,
            "/metrics": self._metrics,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
        }

    async def answer(self, request: Request) -> Reply:
        """Answer any request."""
        refusal = self._gate.refusal(request)
        if refusal is not None:
            return refusal
        if request.path.startswith(CONTROL):
            return self._control.answer(request) if request.method == "POST" else _not_allowed("POST")
        show = self._pages.get(request.path)
        if show is None:
            return error_reply(404, "no_such_page", f"known are {', '.join(self._pages)}")
        if request.method not in READING:
            return _not_allowed("GET, HEAD")
        return await show(request)

    async def _page(self, request: Request) -> Reply:
        return page.render(report(self._monitor))

    async def _status(self, request: Request) -> Reply:
        after = request.query.get("after", "0")
        return json_reply(200, report(self._monitor, int(after) if _NUMBER(after) else 0))

    async def _metrics(self, request: Request) -> Reply:
        pieces = []
        for piece in metrics.pieces(self._monitor):
            pieces.append(piece)
            await asyncio.sleep(0)  # 1,000 services have 3 MB of metrics: requests come in between
        return Reply(200, "".join(pieces).encode(), exposition.CONTENT_TYPE)

    async def _healthz(self, request: Request) -> Reply:
        return Reply(200, b"ok\n")

    async def _readyz(self, request: Request) -> Reply:
        if self._monitor.is_ready:
            return Reply(200, b"ready\n")
        why = "draining" if self._monitor.hub.is_draining else "no backend is in service"
        return Reply(503, f"not ready: {why}\n".encode())


def _not_allowed(allowed: str) -> Reply:
    return error_reply(405, "method_not_allowed", f"allowed here: {allowed}", allow=allowed)  # RFC 9110, 15.5.6
