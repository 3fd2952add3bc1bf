"""llhttp (through `httptools`, as in Node.js and uvicorn) as the independent witness of what bytes mean."""

from collections.abc import Callable
from dataclasses import dataclass, field

import httptools


@dataclass(slots=True)
class Seen:
    """What llhttp found in one message."""

    url: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    heads: int = 0
    body: int = 0
    messages: int = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.heads:  # later ones are trailers
            self.fields.append((name, value.strip(b" \t")))  # RFC 9110, 5.5; llhttp leaves what trails

    def on_headers_complete(self) -> None:
        self.heads += 1

    def on_body(self, data: bytes) -> None:
        self.body += len(data)

    def on_message_complete(self) -> None:
        self.messages += 1


class Unknown(Exception):
    """A method that llhttp does not know: it has no opinion."""


def request(raw: bytes) -> tuple[Seen, bytes]:
    """What it sees in a request, and its method. Raises Unknown, and HttpParserError where it refuses."""
    seen = Seen()
    parser = httptools.HttpRequestParser(seen)
    try:
        _feed(parser.feed_data, raw)
    except httptools.HttpParserInvalidMethodError as error:
        raise Unknown from error
    return seen, parser.get_method()


def reply(raw: bytes) -> tuple[Seen, int]:
    """What it sees in a reply, and its status."""
    seen = Seen()
    parser = httptools.HttpResponseParser(seen)
    _feed(parser.feed_data, raw)
    return seen, parser.get_status_code()


def _feed(feed: Callable[[bytes], object], raw: bytes) -> None:
    try:
        feed(raw)
    except httptools.HttpParserUpgrade:
        pass  # the message ended with its head, as far as it is concerned
