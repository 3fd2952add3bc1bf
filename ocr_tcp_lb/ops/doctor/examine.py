"""All questions to one service, and what its answers mean, in words that say what to do."""

import asyncio
import statistics
from dataclasses import replace

from ocr_tcp_lb.config import BackendConfig, TcpAddress
from ocr_tcp_lb.ops.doctor.findings import Findings, Say
from ocr_tcp_lb.ops.doctor.local import is_ours, listening_on
from ocr_tcp_lb.ops.doctor.probe import Answer, Question, Unreachable, ask, speaks_tls
from ocr_tcp_lb.ops.doctor.sample import Sample, measure

KNOWN_PATHS = ("/get_ocr_api", "/get_ocr", "/ocr", "/api/ocr", "/predict", "/")
ANSWER_S = 10.0
LATENCY_SAMPLES = 5
DEBUGGER = "/?__debugger__=yes&cmd=resource&f=style.css"  # what Werkzeug's debugger serves its pages with


async def examine(backend: BackendConfig, sample: Sample | None, say: Say) -> Findings:
    """Ask everything; `say` is told what is being done."""
    found = Findings(backend)
    here = Question(backend)
    say("connecting")
    try:
        await ask(here, ANSWER_S)
    except Unreachable as error:
        found.bad.append(await _explain(error, here))
        return found
    found.good.append(f"reachable at {here.address}")
    try:
        answer = await _find_path(found, here, say)
        await _look_at_server(found, here, answer)
        if found.path:
            say("measuring the latency")
            await _latency(found, replace(here, path=found.path))
            if sample is not None:
                await measure(found, replace(here, path=found.path), sample, say)
    except Unreachable as error:
        found.bad.append(f"it answered at first, and then: {error}")
    return found


async def _explain(error: Unreachable, here: Question) -> str:
    """What may be behind a failure to connect."""
    address = here.address
    match error.why:
        case "refused":
            return await _explain_refusal(here)
        case "timeout":
            return f"no answer from {address}: a firewall in between, or a machine that is down"
        case "no_such_host":
            return f"the name {here.backend.host} cannot be resolved: {error}"
        case "tls" | "closed" | "not_http" | "silent" if error.why == "tls" or await speaks_tls(here):
            return f"{address} speaks https, and backends are spoken to in plain http: give it a plain port too"
        case _:
            return f"{address}: {error}"


async def _explain_refusal(here: Question) -> str:
    """Nobody listens there; on this machine it can be said who listens elsewhere."""
    address, host, port = here.address, here.backend.host, here.backend.port
    if not await asyncio.get_running_loop().run_in_executor(None, is_ours, host):
        hint = "Is the service started? If it runs there, it may be bound to 127.0.0.1 only: use 0.0.0.0."
        return f"connection refused: nobody listens on {address}. {hint}"
    others = sorted(str(TcpAddress(other, port)) for other in listening_on(port))
    if others:
        what_to_do = "name that address, or bind the service to 0.0.0.0"
        return f"nobody listens on {address}, but on {', '.join(others)}: {what_to_do}"
    return f"connection refused: nobody listens on {address}. Is the service started?"


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
