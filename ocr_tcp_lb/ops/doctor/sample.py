"""An image of the operator's own: in which way the service takes it, and how many of it at once it works on."""

import asyncio
import math
import time
from dataclasses import dataclass, replace
from pathlib import PurePath

from ocr_tcp_lb.ops.doctor import concurrency
from ocr_tcp_lb.ops.doctor.findings import Findings, Say
from ocr_tcp_lb.ops.doctor.probe import Question, Unreachable, ask

WORK_S = 300.0  # as --response-timeout
_MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
_BOUNDARY = "ocr-tcp-lb-doctor"
_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})  # WHATWG HTML, multipart/form-data, as browsers do


@dataclass(frozen=True, slots=True)
class Sample:
    """An image to send, in one of the ways that services take them."""

    name: str
    data: bytes

    def forms(self) -> dict[str, tuple[dict[str, str], bytes]]:
        """Header fields and body by the name of the way, the likeliest first."""
        kind = _MEDIA_TYPES.get(PurePath(self.name).suffix.lower(), "application/octet-stream")
        ways: dict[str, tuple[dict[str, str], bytes]] = {"as the body": ({"Content-Type": kind}, self.data)}
        for field_name in ("file", "image"):
            ways[f"as the form's {field_name!r}"] = self._form(field_name, kind)
        return ways

    def _form(self, field_name: str, kind: str) -> tuple[dict[str, str], bytes]:
        """RFC 7578."""
        disposition = f'form-data; name="{field_name}"; filename="{self.name.translate(_ESCAPES)}"'
        head = f"--{_BOUNDARY}\r\nContent-Disposition: {disposition}\r\nContent-Type: {kind}\r\n\r\n"
        body = head.encode(errors="surrogateescape") + self.data + f"\r\n--{_BOUNDARY}--\r\n".encode()
        return {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}, body


async def measure(found: Findings, here: Question, sample: Sample, say: Say) -> None:
    """Find a way to send the image that it takes, then measure how many at once it works on."""

    def tell(one: concurrency.Round) -> None:
        result = f"{one.failed} failed" if one.failed else f"{one.throughput:.2f} answers a second"
        say(f"{one.at_once} at once: {result}")

    question = await _accepted_form(found, replace(here, method="POST"), sample, say)
    if question is not None:
        _judge(found, await concurrency.measure(_burst_of(question), tell))


async def _accepted_form(found: Findings, here: Question, sample: Sample, say: Say) -> Question | None:
    """Send the image in one way after the other; returns the question that was answered well."""
    refused: list[str] = []
    failure: Unreachable | None = None
    was_answered = False
    for way, (fields, body) in sample.forms().items():
        say(f"sending the sample {way}")
        question = replace(here, fields=fields, body=body)
        try:
            answer = await ask(question, WORK_S)
        except Unreachable as error:
            if error.why != "closed":
                raise
            failure = error  # as those do who refuse what they do not read
            refused.append(f"closed {way}")
            continue
        if answer.status < 300:
            found.good.append(f"takes an image {way}, in {answer.total_s * 1000:.0f} ms")
            return question
        was_answered = True
        refused.append(f"{answer.status} {way}")
    if failure is not None and not was_answered:
        raise failure
    found.notes.append(f"the sample was not taken ({', '.join(refused)}), so its concurrency was not measured")
    return None


def _burst_of(question: Question) -> concurrency.Burst:
    """Ask the same, many at once; the first failure ends it."""

    async def burst(at_once: int, count: int) -> concurrency.Answers:
        began, ended_s, left, failed = time.monotonic(), [], count, 0

        async def ask_on() -> None:
            nonlocal left, failed
            while left and not failed:
                left -= 1
                if await _is_good(question):
                    ended_s.append(time.monotonic() - began)
                else:
                    failed += 1

        await asyncio.gather(*(ask_on() for _ in range(at_once)))
        return concurrency.Answers(tuple(ended_s), failed)

    return burst


async def _is_good(question: Question) -> bool:
    try:
        return (await ask(question, WORK_S)).status < 300
    except Unreachable:
        return False


def _judge(found: Findings, measured: concurrency.Measured) -> None:
    if not measured.at_least:
        found.notes.append("the sample failed when it was sent again, so its concurrency was not measured; see its log")
        return
    if measured.refused_at:
        found.notes.append(f"of {measured.refused_at} at once, some failed; see its log if it should take as many")
    if measured.is_clear:
        found.concurrency = measured.at_least
        found.good.append(f"works on {found.concurrency} at once (measured)")
        told = found.backend.concurrency
        if told not in ("auto", found.concurrency):
            found.notes.append(f"its concurrency is told to be {told}; below stands what was measured")
    else:
        most = "or more" if math.isinf(measured.at_most) else f"to {measured.at_most}"
        found.notes.append(f"works on {measured.at_least} {most} at once: not clear, so it is left to be learned")
