"""The status page."""

from ocr_tcp_lb.ops.admin.http import Reply
from ocr_tcp_lb.ops.admin.report import Report


def render(state: Report) -> Reply:
    """Return the page."""
    return Reply(200, str(state).encode(), "text/plain")
