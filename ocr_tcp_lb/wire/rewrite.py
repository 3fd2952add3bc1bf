"""Which target a backend gets: the backends don't agree on their path, so the service has several names.

A target whose path is a name of the service goes to the chosen backend's own path; any other goes on as it
came. Bytes are compared and copied, never decoded: `/get%5Focr` is no name, and queries stay as sent.
"""

from collections.abc import Iterable

from ocr_tcp_lb.wire.head import RequestHead


class Router:
    """Knows the service's names: all configured backend paths, and `/`."""

    __slots__ = ("_names",)

    def __init__(self, backend_paths: Iterable[bytes]) -> None:
        self._names = frozenset({b"/", *backend_paths})

    def rewritten(self, head: RequestHead, backend_path: bytes) -> bytes:
        """Return the target for that backend, in origin form."""
        if head.path in self._names:
            return backend_path + head.query
        return head.path + head.query

    def __repr__(self) -> str:
        return f"<Router {' '.join(sorted(name.decode('latin-1') for name in self._names))}>"
