"""The registry of workloads: what clients send, over how many connections, and what must come back.

A workload is a value. `request(n)` gives the n-th request as the bytes of the wire; the load generator sends it
and checks that the reply is a 200 of `reply_bytes`, and that the service says it received `body_bytes`. Every peer
named in it runs every one of its variants, all in turns, so that a variant can be compared with the first one. To add
a workload, add one to `WORKLOADS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.messages import (
    ASKED,
    KIB,
    MIB,
    PLAIN,
    REPLY_BYTES,
    SERVED,
    chunked_upload,
    get,
    message,
    multipart,
    upload,
    varied_post,
)

__all__ = ["BY_NAME", "SERVED", "WORKLOADS", "Variant", "Workload"]

SERVICES = 3
MANY_CLIENTS = 10_000
PLENTY = 1000  # told concurrency: nothing waits in a queue, and every peer does the same job

PROXIES = ("ours", "ours-other", "haproxy", "haproxy-new", "nginx", "envoy")
SCRIPTS = ("aiohttp", "flask")
EVERYBODY = (*PROXIES, "ours-asyncio", *SCRIPTS)
COPYING = "haproxy-copying"  # beside the others where splicing matters
OURS_AND_HAPROXY = ("ours", "ours-other", "haproxy", "haproxy-new", COPYING)
TCP = ("ours-tcp", "ours-other-tcp", "haproxy-tcp", "haproxy-new-tcp")


@dataclass(frozen=True, slots=True)
class Variant:
    """One set of circumstances. `options` are for ocr_tcp_lb alone."""

    name: str = ""
    clients: int = 0  # 0: as many as the workload says
    services: int = SERVICES
    idle_clients: int = 0  # connected, served once, silent since
    concurrency: int = PLENTY  # requests that a service is sent at once
    logs: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of traffic. `requests` is the number a turn, for peers that are not slow."""

    name: str
    about: str
    requests: int
    connections: int
    request: Callable[[int], bytes]
    body_bytes: int = 0
    reply_bytes: int = REPLY_BYTES
    reconnects: bool = False  # a new connection for every request
    is_websocket: bool = False  # `request` is a message, and comes back
    rate: float = 0.0  # requests a second, sent at their times (open loop); 0: the next when the last is answered
    mode: str = "http"
    peers: Sequence[str] = PROXIES
    variants: Sequence[Variant] = (Variant(),)

    def clients_of(self, variant: Variant) -> int:
        """How many connections send requests."""
        return variant.clients or self.connections

    def titled(self, variant: str) -> str:
        """What a row of a table is called."""
        return f"{self.about.partition(',')[0]}, {variant}" if variant else self.about


def plain_get(number: int) -> bytes:
    """1 KB GET, always with the same head."""
    return get(ASKED)


def scan(number: int) -> bytes:
    """300 KB form with one file, as a typical scan."""
    return multipart(300 * KIB)


EVERYTHING_OFF = ("--health-interval", "0")
WATCHED = ("--admin", "127.0.0.1:0", "--health-interval", "2")
EVERYTHING_ON = ("--access-log", "json", "--admin", "127.0.0.1:0", "--health-interval", "2")
FEATURES = (
    Variant("all off", options=EVERYTHING_OFF),
    Variant("metrics and health checks", options=WATCHED),
    Variant("all on", options=EVERYTHING_ON),
)

WORKLOADS = (
    Workload("get-1k", "1 KB GET, keep-alive", 30_000, 64, plain_get, peers=EVERYBODY),
    Workload("post-1k-varied", "1 KB POST, every head different", 20_000, 64, varied_post, KIB, peers=EVERYBODY),
    Workload(
        "connect-1k",
        "1 KB GET, a connection for each",
        10_000,
        32,
        lambda n: get(ASKED, "Connection: close"),
        reconnects=True,
        peers=EVERYBODY,
    ),
    Workload("multipart-300k", "300 KB multipart form", 4_000, 16, scan, 300 * KIB, peers=(*EVERYBODY, COPYING)),
    Workload("upload-4m", "4 MB upload", 240, 8, lambda n: upload(4 * MIB), 4 * MIB, peers=(*EVERYBODY, COPYING)),
    Workload(
        "upload-4m-streamed",
        "4 MB upload, ours with --request-buffer 0",
        240,
        8,
        lambda n: upload(4 * MIB),
        4 * MIB,
        peers=OURS_AND_HAPROXY,
        variants=(Variant(options=("--request-buffer", "0")),),
    ),
    Workload("upload-64m", "64 MB upload", 16, 2, lambda n: upload(64 * MIB), 64 * MIB, peers=(*PROXIES, COPYING)),
    Workload("chunked-4m", "4 MB upload in 64 KB chunks", 240, 8, lambda n: chunked_upload(4 * MIB), 4 * MIB),
    Workload(
        "download-4m",
        "4 MB download",
        300,
        8,
        lambda n: get(f"{ASKED}?bytes={4 * MIB}"),
        reply_bytes=4 * MIB,
        peers=(*EVERYBODY, COPYING),
    ),
    Workload("l4-1k", "1 KB GET, connections balanced", 40_000, 64, lambda n: get(PLAIN), mode="tcp", peers=TCP),
    Workload(
        "websocket-1k",
        "1 KB WebSocket message there and back",
        30_000,
        64,
        lambda n: message(KIB),
        is_websocket=True,
    ),
    Workload(
        "clients",
        "1 KB GET, by number of clients",
        20_000,
        64,
        plain_get,
        variants=(Variant("64 clients"), Variant("1 client", clients=1), Variant("1,000 clients", clients=1000)),
    ),
    Workload(
        "services",
        "1 KB GET, by number of services",
        20_000,
        64,
        plain_get,
        variants=(
            # Told as little as nothing has to wait for: with more, a few fast ones of many get all requests, on ever
            # new connections, which is another matter.
            Variant("3 services", concurrency=22),
            Variant("100 services", services=100, concurrency=1),
            Variant("1,000 services", services=1000, concurrency=1),
        ),
    ),
    Workload(
        "idle",
        "1 KB GET, by number of idle clients",
        20_000,
        64,
        plain_get,
        variants=(Variant("none idle"), Variant("10,000 idle", idle_clients=MANY_CLIENTS)),
    ),
    Workload(
        "queue",
        "1 KB GET, by number of requests that wait in the balancer's queue",
        20_000,
        64,
        plain_get,
        peers=OURS_AND_HAPROXY,
        variants=(
            Variant("none wait"),
            Variant("9,976 wait", clients=MANY_CLIENTS, concurrency=8, options=("--queue-size", "20000")),
        ),
    ),
    Workload(
        "logs",
        "1 KB GET, nothing or every request logged to a file",
        20_000,
        64,
        plain_get,
        peers=EVERYBODY,
        variants=(Variant("logs off"), Variant("logs on", logs=True)),
    ),
    Workload(
        "features",
        "1 KB GET, JSON log, metrics and health checks off or on",
        30_000,
        64,
        plain_get,
        peers=("ours", "ours-other"),
        variants=FEATURES,
    ),
    Workload(
        "features-300k",
        "300 KB multipart form, JSON log, metrics and health checks off or on",
        4_000,
        16,
        scan,
        300 * KIB,
        peers=("ours", "ours-other"),
        variants=FEATURES,
    ),
    Workload("hop", "1 KB GET by one client", 3_000, 1, plain_get, peers=("direct", *PROXIES, "ours-asyncio")),
    Workload(
        "latency-get-1k",
        "1 KB GET, 2,000 a second",
        8_000,
        64,
        plain_get,
        rate=2000,
        peers=("direct", *EVERYBODY),
    ),
    Workload(
        "latency-post-1k",
        "1 KB POST, every head different, 2,000 a second",
        8_000,
        64,
        varied_post,
        KIB,
        rate=2000,
        peers=("direct", *PROXIES),
    ),
    Workload(
        "latency-300k",
        "300 KB multipart form, 200 a second",
        800,
        16,
        scan,
        300 * KIB,
        rate=200,
        peers=("direct", *PROXIES),
    ),
)
BY_NAME = {workload.name: workload for workload in WORKLOADS}
