"""All questions to one service, and what its answers mean, in words that say what to do."""

import asyncio
import re
import statistics
from dataclasses import replace
from urllib.parse import urljoin, urlsplit

from ocr_tcp_lb.config import BackendConfig, Config, TcpAddress
from ocr_tcp_lb.ops.doctor.findings import Findings, Say
from ocr_tcp_lb.ops.doctor.local import is_ours, listening_on
from ocr_tcp_lb.ops.doctor.probe import Answer, Question, Unreachable, ask, connected, speaks_tls
from ocr_tcp_lb.ops.doctor.sample import Sample, measure
from ocr_tcp_lb.relay.probe import SUCCESS

KNOWN_PATHS = ("/get_ocr_api", "/get_ocr", "/ocr", "/api/ocr", "/predict", "/")
ANSWER_S = 10.0
LATENCY_SAMPLES = 5
NOT_FOUND = 404
REDIRECTS = (301, 302, 303, 307, 308)
DEBUGGER = "?__debugger__=yes&cmd=resource&f=style.css"  # what Werkzeug's debugger serves its pages with
_PATH = re.compile(r"/[!-~]*")  # what may stand in a request line


async def examine(backend: BackendConfig, config: Config, sample: Sample | None, say: Say) -> Findings:
    """Ask everything that counts for the balancer as it is configured; `say` is told what is being done."""
    found = Findings(backend)
    paths = _candidates(backend.path)
    here = Question(backend, paths[0], limits=config.limits)
    say("connecting")
    try:
        if config.mode == "tcp":
            await _look_in_tcp_mode(found, here, config)
            return found
        first = await ask(here, ANSWER_S)
    except Unreachable as error:
        found.bad.append(await _explain(error, here))
        return found
    found.good.append(f"reachable at {here.address}")
    try:
        answer = await _find_path(found, here, first, say)
        await _look_at_server(found, here, answer)
        if found.path:
            await _check_health(found, here, config)
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


def _candidates(told: str) -> list[str]:
    """The paths to try: the told one before all others, which may never be answered; `/` says nothing."""
    return list(dict.fromkeys((told, *KNOWN_PATHS) if told != "/" else KNOWN_PATHS))


async def _find_path(found: Findings, here: Question, first: Answer, say: Say) -> Answer:
    """Which path answers: the told one if it does, else the first known one. An answer to GET is enough.

    `first` is the answer to the first of them.
    """
    told = found.backend.path
    missing: list[str] = []
    for path in _candidates(told):
        say(f"trying {path}")
        question = replace(here, path=path)
        answer = first if path == here.path else await ask(question, ANSWER_S)
        if answer.status == NOT_FOUND:
            missing.append(path)
        elif answer.status in REDIRECTS:
            answer = await _follow(found, question, answer)
        else:
            found.path = path
        if found.path or found.bad:
            break
    if found.path:
        if told in missing:
            found.bad.append(f"404 on {told}, but {found.path} answers: correct the URL")
        _judge_status(found, answer)
    elif not found.bad:
        what = f"404 on {', '.join(missing)}" if missing else "it redirects wherever it is asked"
        found.bad.append(f"{what}: name the path that it serves, as in http://HOST:PORT/path")
    return answer


async def _follow(found: Findings, question: Question, answer: Answer) -> Answer:
    """Find the path that a redirect names, if it is one of this service; returns its answer, or else the redirect.

    Of a path that nobody told only one with a slash more is followed: others may lead to a login or a manual.
    """
    path, location = question.path, answer.fields.get("location", "?")
    is_told = path == found.backend.path != "/"
    told_of = found.bad if is_told else found.notes
    target = _path_here(question, location)
    if target and (is_told or target == f"{path}/"):
        there = await ask(replace(question, path=target), ANSWER_S)
        if there.status not in (NOT_FOUND, *REDIRECTS):
            found.path = target
            told_of.append(f"{path} redirects to {target}: name that path")
            return there
    told_of.append(f"{path} redirects to {location}: name the path that takes images")
    return answer


def _path_here(question: Question, location: str) -> str:
    """Return the path of a Location (RFC 9110, 10.2.2) on this very server; empty: it is elsewhere, or no mere path."""
    backend = question.backend
    try:
        target = urlsplit(urljoin(f"http://{question.address}{question.path}", location))
        is_here = (target.scheme, target.hostname, target.port or 80) == ("http", backend.host.lower(), backend.port)
    except ValueError:
        return ""
    return target.path if is_here and not target.query and _PATH.fullmatch(target.path) else ""


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
        debugger = await ask(replace(here, path=(found.path or here.path) + DEBUGGER), ANSWER_S)
        if debugger.status == 200 and "css" in debugger.fields.get("content-type", ""):
            found.bad.append(
                "Flask runs in debug mode: the reloader restarts it in the middle of requests, and the debugger lets "
                "whoever reaches it run code; start it without debug=True"
            )


async def _look_in_tcp_mode(found: Findings, here: Question, config: Config) -> None:
    """What is spoken over the connections is not the balancer's business there, but for its own checks."""
    async with connected(here):
        found.good.append(f"reachable at {here.address}; in TCP mode nothing else is asked")
    found.path = found.backend.path
    await _check_health(found, here, config)


async def _check_health(found: Findings, here: Question, config: Config) -> None:
    """Do as the balancer, which keeps out a backend whose health path does not answer well."""
    path = found.backend.health_path
    if not path or not config.health_interval_s:
        return
    try:
        status = (await ask(replace(here, path=path, is_check=True), config.timeouts.connect_s)).status
        if status in SUCCESS:
            found.good.append(f"its health path {path} answers {status}")
            return
        what = f"answers {status}"
    except Unreachable as error:
        what = f"does not answer ({error})"
    found.bad.append(f"its health path {path} {what}: the balancer will not use it")


async def _latency(found: Findings, here: Question) -> None:
    times = [
        (answer.connect_s, answer.total_s) for answer in [await ask(here, ANSWER_S) for _ in range(LATENCY_SAMPLES)]
    ]
    connect_ms, total_ms = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
    found.good.append(f"connects in {connect_ms:.1f} ms, answers a GET in {total_ms:.1f} ms")
