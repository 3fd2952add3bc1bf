"""The one table of options: a row says all there is to say about one.

The command line, the TOML file, the help text and the output of `check` are all made from `OPTIONS` and
`BACKEND_KEYS`, so a new option is one row here and one field in `config`. A row's `place` is the field of
`Config` that it sets (`timeouts.connect_s`); a row without a place is put together in `options`. The values of
a repeatable row with a place add up with `|`.
"""

from dataclasses import dataclass
from operator import attrgetter
from typing import get_args

from ocr_tcp_lb.config import (
    GIB,
    KIB,
    MIB,
    Abandon,
    AccessLogFormat,
    BackendConfig,
    Config,
    LoopName,
    Mode,
    OrderName,
    PolicyName,
)
from ocr_tcp_lb.settings.addresses import BACKEND_URL, LISTEN
from ocr_tcp_lb.settings.proxies import TRUSTED_PROXIES
from ocr_tcp_lb.settings.values import (
    CONCURRENCY,
    FAIR_BY,
    FLAG,
    HEALTH_PATH,
    NAME,
    SEND_PROXY,
    TEXT,
    WEIGHT,
    Kind,
    choice,
    count,
    duration,
    or_off,
    size,
)

# `check` judges what `run` would do, so it takes the same options.
_RUN = frozenset({"run", "check"})
_DEMO = frozenset({"demo"})
_EVERY = _RUN | _DEMO
_STATUS = frozenset({"status"})
_DOCTOR = frozenset({"doctor"})
_CONTROL = frozenset({"control"})


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its name on the command line (with `--`) and in TOML, its kind, its place, and its help."""

    name: str
    kind: Kind
    group: str
    help: str
    place: str = ""
    default: str = ""  # for the help, where the place does not tell it
    metavar: str = ""
    repeatable: bool = False
    in_file: bool = True
    commands: frozenset[str] = _RUN

    @property
    def shown_default(self) -> str:
        """The default as an operator would write it; empty if there is none."""
        if self.default or not self.place:
            return self.default
        value = self.kind.show(attrgetter(self.place)(Config()))
        return str(value).lower() if isinstance(value, bool) else str(value)


OPTIONS: tuple[Option, ...] = (
    Option(
        "listen",
        LISTEN,
        "Where",
        "where clients connect: [HOST]:PORT or unix:PATH; repeatable",
        default=":4999",
        repeatable=True,
        commands=_EVERY,
    ),
    Option(
        "backend",
        BACKEND_URL,
        "Where",
        "one service, with the path it answers on; repeatable. Keys: name, weight, concurrency, health, "
        "abandon, max_idle, send_proxy",
        default="http://127.0.0.1:5000/get_ocr_api, :5001/get_ocr and :5002/get_ocr_api",
        metavar="URL[,KEY=VALUE...]",
        repeatable=True,
        commands=_RUN | _DOCTOR,
    ),
    Option(
        "config",
        TEXT,
        "Where",
        "a TOML file of these same names; the command line wins",
        in_file=False,
        commands=_RUN | _DOCTOR,
    ),
    Option(
        "workers-from",
        count(1, 65533),
        "Where",
        "the first of the three ports for the demo's workers",
        default="5000",
        metavar="PORT",
        in_file=False,
        commands=_DEMO,
    ),
    Option(
        "proxy-protocol",
        FLAG,
        "Where",
        "each connection of a trusted proxy begins with a PROXY protocol header, v1 or v2",
        "proxy_protocol",
    ),
    Option(
        "trusted-proxies",
        TRUSTED_PROXIES,
        "Where",
        "networks of proxies that are believed about their clients; unix: those on unix sockets; repeatable",
        "trusted_proxies",
        repeatable=True,
    ),
    Option(
        "mode",
        choice(*get_args(Mode)),
        "Who serves next",
        "balance HTTP requests or whole TCP connections",
        "mode",
    ),
    Option(
        "policy",
        choice(*get_args(PolicyName)),
        "Who serves next",
        "how a backend is chosen; in TCP mode queue is least-outstanding",
        "policy",
        commands=_EVERY,
    ),
    Option(
        "concurrency",
        CONCURRENCY,
        "Who serves next",
        "requests at once on each backend that does not say its own",
        "concurrency",
    ),
    Option(
        "queue-size",
        count(0, 1_000_000),
        "Who serves next",
        "requests that may wait for a backend",
        "queue.size",
        default="16 a backend, at least 100",
    ),
    Option("queue-timeout", duration(), "Who serves next", "longest wait for a backend", "queue.timeout_s"),
    Option(
        "order",
        choice(*get_args(OrderName)),
        "Who serves next",
        "who of the waiting is next: who came first, or with a head start for short requests, by their size",
        "queue.order",
    ),
    Option(
        "fair-by",
        FAIR_BY,
        "Who serves next",
        "what tells clients apart, so that the many requests of one do not keep others waiting",
        "queue.fair_by",
    ),
    Option(
        "retries",
        count(0, 100),
        "Who serves next",
        "other backends to try where a replay is safe",
        "retries",
    ),
    Option(
        "health-interval",
        duration(zero=True),
        "Who serves next",
        "between two checks of an idle backend: a TCP connect, or its `health` path; 0: none",
        "health_interval_s",
    ),
    Option("replay-post", FLAG, "Who serves next", "a POST may safely run twice", "replay_post"),
    Option(
        "hedge",
        FLAG,
        "Who serves next",
        "where a replay is safe, ask a second backend when the first is silent for 3 times the longest service time",
        "hedge",
    ),
    Option("connect-timeout", duration(), "Time limits", "connecting to a backend", "timeouts.connect_s"),
    Option("head-timeout", duration(), "Time limits", "receiving a request's head", "timeouts.head_s"),
    Option(
        "idle-timeout",
        duration(),
        "Time limits",
        "between two pieces of a body, or two requests",
        "timeouts.idle_s",
    ),
    Option(
        "response-timeout",
        duration(),
        "Time limits",
        "silence of a backend that works",
        "timeouts.response_s",
    ),
    Option(
        "drain-timeout",
        duration(zero=True),
        "Time limits",
        "finishing work after SIGTERM or Ctrl-C",
        "timeouts.drain_s",
    ),
    Option("head-limit", size(KIB, MIB), "Size limits", "largest request head", "limits.head_bytes"),
    Option("body-limit", size(1, 1024 * GIB), "Size limits", "largest request body", "limits.body_bytes"),
    Option(
        "max-connections",
        count(1, 1_000_000),
        "Size limits",
        "clients connected at once",
        "limits.connections",
    ),
    Option(
        "max-connections-per-client",
        count(0, 1_000_000),
        "Size limits",
        "the same, from one address; 0: any number",
        "limits.connections_per_client",
    ),
    Option(
        "request-buffer",
        size(0, 64 * GIB),
        "Size limits",
        "body held before a backend is taken, a request",
        "limits.request_buffer_bytes",
    ),
    Option(
        "reply-buffer",
        size(0, 64 * GIB),
        "Size limits",
        "reply held until it is whole, where another backend could be tried if it breaks off",
        "limits.reply_buffer_bytes",
    ),
    Option(
        "buffer-memory",
        size(0, 1024 * GIB),
        "Size limits",
        "held bodies and replies, all requests together",
        "limits.buffer_memory_bytes",
    ),
    Option(
        "admin",
        or_off(LISTEN),
        "Operation",
        "where the status page, the metrics and the control are; 127.0.0.1:0 is any free port",
        "admin",
        commands=_EVERY | _STATUS | _CONTROL,
    ),
    Option(
        "admin-token-file",
        TEXT,
        "Operation",
        "a file whose content the admin listener asks for; needed where other machines can reach it",
        "admin_token_file",
        commands=_EVERY | _STATUS | _CONTROL,
    ),
    Option(
        "watch",
        FLAG,
        "Operation",
        "go on, and show changes as they come",
        default="no",
        in_file=False,
        commands=_STATUS,
    ),
    Option(
        "sample",
        TEXT,
        "Operation",
        "an image to send, to measure how many at once each service really works on",
        in_file=False,
        commands=_DOCTOR,
    ),
    Option(
        "access-log",
        choice(*get_args(AccessLogFormat)),
        "Operation",
        "one line a request on standard output",
        "access_log",
        commands=_EVERY,
    ),
    Option(
        "debug-headers",
        FLAG,
        "Operation",
        "tell on each reply which backend gave it, and after how many attempts: X-Backend, X-Attempts",
        "debug_headers",
    ),
    Option(
        "loop",
        choice(*get_args(LoopName)),
        "Operation",
        "which event loop; auto prefers uvloop",
        "loop",
        commands=_EVERY,
    ),
)

# `place` is a field of BackendConfig here; the URL and the defaults need the whole backend, see `options`.
BACKEND_KEYS: tuple[Option, ...] = (
    Option("url", BACKEND_URL, "Backend", "where the service answers"),
    Option("name", NAME, "Backend", "its name in logs", "name"),
    Option("weight", WEIGHT, "Backend", "its share; with policy queue, how much it is preferred", "weight"),
    Option("concurrency", CONCURRENCY, "Backend", "requests it can work on at once", "concurrency"),
    Option("health", HEALTH_PATH, "Backend", "its path for health checks, which answers 2xx; none: TCP", "health_path"),
    Option("abandon", choice(*get_args(Abandon)), "Backend", "what is done when a client leaves", "abandon"),
    Option("max-idle", duration(zero=True), "Backend", "how long an idle connection is kept", "max_idle_s"),
    Option("send-proxy", SEND_PROXY, "Backend", "the PROXY protocol that tells it who the client is", "send_proxy"),
)


def options_of(command: str) -> dict[str, Option]:
    """Return the options that `command` takes, by name, in the order of the table."""
    return {option.name: option for option in OPTIONS if command in option.commands}


def is_program_wide(name: str) -> bool:
    """Whether a file may say this, but not about one backend."""
    return name in {row.name for row in OPTIONS if row.in_file} - {key.name for key in BACKEND_KEYS}


def backend_values(backend: BackendConfig) -> dict[str, str | int | float | bool]:
    """Return every key of one backend as TOML scalars, the URL first."""
    shown = {"url": BACKEND_URL.show(backend.url)}
    return shown | {key.name: key.kind.show(attrgetter(key.place)(backend)) for key in BACKEND_KEYS if key.place}
