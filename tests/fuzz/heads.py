"""Random heads and chunked bodies: the parsers never crash, agree with themselves, and with llhttp when they accept.

    python -m tests.fuzz.heads --count 10_000_000 [--seed 1]

For every input: however it is cut, the outcome is the same; the cached way and the way through h11 agree; what is
forwarded is one head with the same meaning; and whenever we accept, llhttp sees the same method, target, fields and
body length. A disagreement raises Disagreement, with the input.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable

import httptools

from ocr_tcp_lb.wire import (
    ChunkedBody,
    Framing,
    Hop,
    ProtocolError,
    ReplyError,
    ReplyParser,
    RequestError,
    RequestHead,
    RequestParser,
)
from ocr_tcp_lb.wire.boundary import head_end, reply_head_end

from . import llhttp
from .mutate import Breeder, corpus

LIMIT = 1024
LONGEST_BODY = 100
HOP = Hop(b"192.0.2.7", False, b"http", b"front")
CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

Outcome = tuple[object, ...]


class Disagreement(AssertionError):
    """Two readers of the same bytes found different things."""


class Heads:
    """The targets, each fed one input and a place to cut it; returns what came of it, coarsely."""

    def __init__(self) -> None:
        self._warm, self._cold = RequestParser(), RequestParser(shapes=0)
        self._warm_replies, self._cold_replies = ReplyParser(), ReplyParser(shapes=0)
        self.accepted = self.unknown = 0

    def request(self, raw: bytes, cut: int) -> Outcome:
        """One request head, perhaps with bytes behind it."""
        try:
            end = head_end(raw, LIMIT)
            head = self._warm.parse(raw[:end]) if end else None
        except RequestError as error:
            return error.status, error.message
        _cut_alike(head_end, raw, cut, end)
        if head is None:
            return ("incomplete",)
        _must(_facts(head) == _facts(self._cold.parse(raw[:end])), "h11 and the cache read it differently", raw)
        self._compare_request(head, raw[:end])
        self.accepted += 1
        return head.method[:8], head.minor, head.framing, head.upgrade != b"", head.expects_continue, head.keep_alive

    def _compare_request(self, head: RequestHead, raw: bytes) -> None:
        target = head.path + head.query
        forwarded = head.forwarded(target, HOP, b"id")
        again = self._warm.parse(forwarded)
        _must(_meaning(again) == _meaning(head), "what is forwarded means something else", raw)
        body = _body(head.framing, head.content_length)
        for sent, url in ((raw, head.target), (forwarded, target)):
            try:
                seen, method = llhttp.request(sent + body)
            except llhttp.Unknown:
                self.unknown += 1
                return
            except httptools.HttpParserError as error:
                raise Disagreement(f"llhttp refuses what we accept: {error}: {sent!r}") from error
            _must((method, seen.url) == (head.method, url), f"llhttp saw {method!r} {seen.url!r}", sent)
            _must(seen.fields == _fields(sent), f"llhttp saw {seen.fields}", sent)
            if sent is raw and body and b"upgrade" in raw.lower():
                continue  # httptools takes no body where an Upgrade is offered; what we forward offers none then
            expected = _length(head.framing, head.content_length)
            whole = head.content_length <= LONGEST_BODY
            _must((seen.body, seen.messages) == (expected, whole), f"llhttp saw {seen.body} bytes", sent)

    def reply(self, raw: bytes, cut: int) -> Outcome:
        """One reply head to a GET."""
        try:
            end = reply_head_end(raw, LIMIT)
            head = self._warm_replies.parse(raw[:end], b"GET") if end else None
        except ReplyError as error:
            return (error.message,)
        _cut_alike(reply_head_end, raw, cut, end)
        if head is None:
            return ("incomplete",)
        raw = raw[:end]
        cold = self._cold_replies.parse(raw, b"GET")
        forwarded = head.forwarded(minor=1, close=False, extra=b"X-Request-Id: r\r\n")
        same = cold.forwarded(minor=1, close=False, extra=b"X-Request-Id: r\r\n") == forwarded
        _must(same and cold.framing is head.framing, "h11 and the cache read it differently", raw)
        self.accepted += 1
        if head.status != 101:
            body = _body(head.framing, head.content_length)
            for sent in (raw, forwarded):
                try:
                    seen, status = llhttp.reply(sent + body)
                except httptools.HttpParserError as error:
                    raise Disagreement(f"llhttp refuses what we accept: {error}: {sent!r}") from error
                _must(status == head.status, f"llhttp saw {status}", sent)
                _must(seen.fields == _fields(sent), f"llhttp saw {seen.fields}", sent)
                _must(seen.body == _length(head.framing, head.content_length), f"llhttp saw {seen.body} bytes", sent)
        return head.status // 100, head.minor, head.framing, head.keep_alive

    def chunks(self, raw: bytes, cut: int) -> Outcome:
        """One chunked body, perhaps with bytes behind it."""
        whole, cut_up = _follow([raw]), _follow([raw[:cut], raw[cut:]])
        _must(whole == cut_up, f"{cut_up} when cut at {cut}, else {whole}", raw)
        if whole[0] != "done":
            return whole[:2] if whole[0] == "refused" else ("incomplete",)
        _, consumed, payload = whole
        try:
            seen, _ = llhttp.request(CHUNKED_POST + raw[:consumed])
        except httptools.HttpParserError as error:
            raise Disagreement(f"llhttp refuses what we accept: {error}: {raw!r}") from error
        _must((seen.body, seen.messages) == (len(payload), 1), f"llhttp saw {seen.body} bytes", raw)
        self.accepted += 1
        return "done", min(len(payload), 4), raw[:consumed].count(b"\r\n") > 3


def _must(holds: bool, what: str, raw: bytes) -> None:
    if not holds:
        raise Disagreement(f"{what}: {raw!r}")


def _cut_alike(find: Callable[[bytes, int, int], int], raw: bytes, cut: int, end: int) -> None:
    """What is good in one piece must be as good when it comes in two."""
    try:
        again = find(raw[:cut], LIMIT, 0) or find(raw, LIMIT, cut)
    except ProtocolError as error:
        raise Disagreement(f"refused when cut at {cut} ({error.message}): {raw!r}") from error
    _must(again == end, f"{end} in one piece, {again} when cut at {cut}", raw)


def _fields(raw: bytes) -> list[tuple[bytes, bytes]]:
    lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")[1:]
    return [(name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]


def _facts(head: RequestHead) -> Outcome:
    return (*_meaning(head), head.target, head.minor, head.keep_alive, head.expects_continue, head.upgrade, head.host)


def _meaning(head: RequestHead) -> Outcome:
    return head.method, head.path, head.query, head.framing, head.content_length


def _body(framing: Framing, length: int) -> bytes:
    match framing:
        case Framing.CHUNKED:
            return b"5\r\nhello\r\n0\r\n\r\n"
        case Framing.LENGTH:
            return b"x" * min(length, LONGEST_BODY)
        case Framing.UNTIL_CLOSE:
            return b"hello"
    return b""


def _length(framing: Framing, length: int) -> int:
    return {Framing.CHUNKED: 5, Framing.LENGTH: min(length, LONGEST_BODY), Framing.UNTIL_CLOSE: 5}.get(framing, 0)


def _follow(pieces: list[bytes]) -> Outcome:
    """Feed a chunked body: `done`, bytes consumed and payload, or how it was refused."""
    body, payload, consumed = ChunkedBody("client"), b"", 0
    for piece in pieces:
        try:
            step, slices = body.payload(piece)
        except ProtocolError as error:
            return "refused", error.message
        payload += b"".join(slices)
        consumed += step
    return ("done" if body.done else "incomplete"), consumed, payload


def run(count: int, seed: int, report: Callable[[str], None] = lambda line: None) -> Counter[str]:
    """Feed so many inputs, a third of them to each target; returns how many of each were accepted."""
    heads, outcomes = Heads(), set[object]()
    targets = [
        (name, getattr(heads, method), Breeder(corpus(name), seed + number))
        for number, (name, method) in enumerate((("requests", "request"), ("replies", "reply"), ("chunks", "chunks")))
    ]
    accepted: Counter[str] = Counter()
    began = time.monotonic()
    for number in range(count):
        name, target, breeder = targets[number % len(targets)]
        raw = breeder.next()
        before = heads.accepted
        outcome = (name, *target(raw, breeder.cut(raw)))
        accepted[name] += heads.accepted - before
        if outcome not in outcomes:
            outcomes.add(outcome)
            breeder.keep(raw)
        if number % 1_000_000 == 999_999:
            rate = number / (time.monotonic() - began)
            report(f"{number + 1:,} inputs, {rate:,.0f}/s, {len(outcomes)} outcomes, accepted {dict(accepted)}")
    report(f"{count:,} inputs, no disagreement; accepted {dict(accepted)}, methods unknown to llhttp {heads.unknown:,}")
    return accepted


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--count", type=int, default=1_000_000)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    run(chosen.count, chosen.seed, lambda line: print(line, flush=True))
