"""The same OCR service as a bare ASGI application, for uvicorn."""

from collections.abc import Awaitable, Callable
from typing import Any

from ocr_work import Request, from_environment

worker, path = from_environment()
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer one request; the work blocks the loop, as a model called from `async def` does."""
    fields = dict(scope["headers"])
    pieces = []
    more = True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    query = scope["query_string"].decode("ascii")
    target = scope["raw_path"].decode("ascii") + (f"?{query}" if query else "")
    status, (content_type, content) = 404, ("text/plain", b"no such path\n")
    if scope["path"] == path:
        status, (content_type, content) = (
            200,
            worker.answer(
                Request(
                    scope["method"],
                    target,
                    b"".join(pieces),
                    fields.get(b"job", b"").decode(),
                    b"echo" in fields,
                    fields.get(b"x-forwarded-for", b"").decode(),
                    {},
                )
            ),
        )
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
