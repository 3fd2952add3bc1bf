"""All questions to one service, and what its answers mean, in words that say what to do."""

import asyncio
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from ocr_tcp_lb.config import BackendConfig
from ocr_tcp_lb.ops.doctor import concurrency
from ocr_tcp_lb.ops.doctor.local import is_ours, listening_on
from ocr_tcp_lb.ops.doctor.probe import Answer, Question, Unreachable, ask, speaks_tls

KNOWN_PATHS = ("/get_ocr_api", "/get_ocr", "/ocr", "/api/ocr", "/predict", "/")
ANSWER_S = 10.0
WORK_S = 300.0  # as --response-timeout
LATENCY_SAMPLES = 5
DEBUGGER = "/?__debugger__=yes&cmd=resource&f=style.css"  # what Werkzeug's debugger serves its pages with
_MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
_BOUNDARY = "ocr-tcp-lb-doctor"

Say = Callable[[str], object]


@dataclass(slots=True)
class Findings:
    """What was found out about one service."""

    backend: BackendConfig
    good: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)  # it will not work like this
    notes: list[str] = field(default_factory=list)  # it works, and there is something to know
    path: str = ""  # the one that answers; empty: none
    concurrency: int = 0  # measured; 0: not, or not clearly

    @property
    def proposal(self) -> BackendConfig:
        """The backend as it was told, with what was found."""
        return replace(
            self.backend,
            path=self.path or self.backend.path,
            concurrency=self.concurrency or self.backend.concurrency,
        )


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
        head = (
            f"--{_BOUNDARY}\r\nContent-Disposition: form-data; name={field_name!r}; filename={self.name!r}\r\n"
            f"Content-Type: {kind}\r\n\r\n"
        ).replace("'", '"')
        body = head.encode() + self.data + f"\r\n--{_BOUNDARY}--\r\n".encode()
        return {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}, body


async def examine(backend: BackendConfig, sample: Sample | None, say: Say) -> Findings:
    """Ask everything; `say` is told what is being done."""
    found = Findings(backend)
    here = Question(backend.host, backend.port)
    say("connecting")
    try:
        await ask(here, ANSWER_S)
    except Unreachable as error:
        found.bad.append(await _explain(error, here))
        return found
    found.good.append(f"reachable at {backend.host}:{backend.port}")
    try:
        answer = await _find_path(found, here, say)
        await _look_at_server(found, here, answer)
        if found.path:
            say("measuring the latency")
            await _latency(found, replace(here, path=found.path))
            if sample is not None:
                await _measure(found, replace(here, path=found.path, method="POST"), sample, say)
    except Unreachable as error:
        found.bad.append(f"it answered at first, and then: {error}")
    return found


async def _explain(error: Unreachable, here: Question) -> str:
    """What may be behind a failure to connect."""
    address = f"{here.host}:{here.port}"
    match error.why:
        case "refused":
            return await _explain_refusal(here)
        case "timeout":
            return f"no answer from {address}: a firewall in between, or a machine that is down"
        case "no_such_host":
            return f"the name {here.host} cannot be resolved: {error}"
        case "tls" | "closed" | "not_http" | "silent" if error.why == "tls" or await speaks_tls(here):
            return f"{address} speaks https, and backends are spoken to in plain http: give it a plain port too"
        case _:
            return f"{address}: {error}"


async def _explain_refusal(here: Question) -> str:
    """Nobody listens there; on this machine it can be said who listens elsewhere."""
    address = f"{here.host}:{here.port}"
    if not await asyncio.get_running_loop().run_in_executor(None, is_ours, here.host):
        hint = "Is the service started? If it runs there, it may be bound to 127.0.0.1 only: use 0.0.0.0."
        return f"connection refused: nobody listens on {address}. {hint}"
    others = sorted(_host_and_port(host, here.port) for host in listening_on(here.port))
    if others:
        what_to_do = "name that address, or bind the service to 0.0.0.0"
        return f"nobody listens on {address}, but on {', '.join(others)}: {what_to_do}"
    return f"connection refused: nobody listens on {address}. Is the service started?"


def _host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _find_path(found: Findings, here: Question, say: Say) -> Answer:
    """Which path answers: the configured one if it does, else the first known one. An answer to GET is enough."""
    wanted = found.backend.path
    candidates = [wanted] if wanted != "/" else []
    candidates += [path for path in KNOWN_PATHS if path not in candidates]
    answers: dict[str, Answer] = {}
    for path in candidates:
        say(f"trying {path}")
        answers[path] = await ask(replace(here, path=path), ANSWER_S)
        status = answers[path].status
        if status in (301, 302, 307, 308):
            found.notes.append(f"{path} redirects to {answers[path].fields.get('location', '?')}: name that path")
        elif status != 404:
            found.path = path
            break
    if not found.path:
        found.bad.append(f"404 on {', '.join(candidates)}: name the path that it serves, as in http://HOST:PORT/path")
        return answers[candidates[0]]
    if wanted not in ("/", found.path):
        found.bad.append(f"404 on {wanted}, but {found.path} answers: correct the URL")
    _judge_status(found, answers[found.path])
    return answers[found.path]


def _judge_status(found: Findings, answer: Answer) -> None:
    match answer.status:
        case 405:
            found.good.append(f"{found.path} is there (405 to GET: it takes POST)")
        case 401 | 403:
            found.notes.append(
                f"{found.path} answers {answer.status}: clients must send their credentials, or it is closed"
            )
        case status if status >= 500:
            found.notes.append(
                f"{found.path} answers {status} to an empty GET; see its log if it does so to real images"
            )
        case status:
            found.good.append(f"{found.path} answers ({status} to GET)")


async def _look_at_server(found: Findings, here: Question, answer: Answer) -> None:
    server = answer.fields.get("server", "")
    keeps = "keeps connections open" if answer.keeps_alive else "closes after each reply"
    found.good.append(f"HTTP/{answer.version}, {keeps}{f', {server}' if server else ''}")
    if not answer.keeps_alive:
        found.notes.append("each request costs it a new connection; a server with keep-alive saves about a millisecond")
    if "werkzeug" in server.lower():
        found.notes.append("this is Flask's development server: fine to try, gunicorn or waitress for production")
        debugger = await ask(replace(here, path=DEBUGGER), ANSWER_S)
        if debugger.status == 200 and "css" in debugger.fields.get("content-type", ""):
            found.bad.append(
                "Flask runs in debug mode: the reloader restarts it in the middle of requests, and the debugger lets "
                "whoever reaches it run code; start it without debug=True"
            )


async def _latency(found: Findings, here: Question) -> None:
    times = [
        (answer.connect_s, answer.total_s) for answer in [await ask(here, ANSWER_S) for _ in range(LATENCY_SAMPLES)]
    ]
    connect_ms, total_ms = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
    found.good.append(f"connects in {connect_ms:.1f} ms, answers a GET in {total_ms:.1f} ms")


async def _measure(found: Findings, here: Question, sample: Sample, say: Say) -> None:
    """Find a way to send the image that it takes, then measure how many at once it works on."""
    refused: list[str] = []
    for way, (fields, body) in sample.forms().items():
        say(f"sending the sample {way}")
        question = replace(here, fields=fields, body=body)
        answer = await ask(question, WORK_S)
        if answer.status < 300:
            found.good.append(f"takes an image {way}, in {answer.total_s * 1000:.0f} ms")
            break
        refused.append(f"{answer.status} {way}")
    else:
        found.notes.append(f"the sample was not taken ({', '.join(refused)}), so its concurrency was not measured")
        return

    async def burst(at_once: int, count: int) -> concurrency.Answers:
        began, ended_s, left, failed = time.monotonic(), [], count, 0

        async def ask_on() -> None:
            nonlocal left, failed
            while left and not failed:
                left -= 1
                try:
                    is_good = (await ask(question, WORK_S)).status < 300
                except Unreachable:
                    is_good = False
                if is_good:
                    ended_s.append(time.monotonic() - began)
                else:
                    failed += 1

        await asyncio.gather(*(ask_on() for _ in range(at_once)))
        return concurrency.Answers(tuple(ended_s), failed)

    def tell(one: concurrency.Round) -> None:
        result = f"{one.failed} failed" if one.failed else f"{one.throughput:.2f} answers a second"
        say(f"{one.at_once} at once: {result}")

    _judge_concurrency(found, await concurrency.measure(burst, tell))


def _judge_concurrency(found: Findings, measured: concurrency.Measured) -> None:
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
