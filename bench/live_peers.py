"""The balancers that `latency` compares, as command lines for a fleet of sleeping workers.

`ours` is told nothing but the addresses, `ours told` also each worker's concurrency. HAProxy's second setting is what
its manual advises against overload and failing servers: `maxconn` on each, so that the queue is HAProxy's (it is told
the truth), and `observe layer7`, so that one that answers with errors is left out. nginx leaves out who fails unasked.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import configs
from bench.peers import program
from bench.sim_workers import WorkerSpec
from bench.workloads import SERVED

OBSERVING = "    default-server check inter 2s observe layer7 error-limit 2 on-error mark-down\n"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a peer is to run, and the workers behind it."""

    port: int
    workers: Sequence[WorkerSpec]
    ports: Sequence[int]
    directory: Path
    response_timeout_s: float = 60.0

    def write(self, name: str, text: str) -> str:
        """Write a configuration file; return its path."""
        path = self.directory / name
        path.write_text(text)
        return str(path)


@dataclass(frozen=True, slots=True)
class LivePeer:
    """One balancer with one setting."""

    name: str
    command: Callable[[Site], list[str]]


def _ours(*options: str, is_told: bool) -> Callable[[Site], list[str]]:
    def command(site: Site) -> list[str]:
        words = [sys.executable, "-m", "ocr_tcp_lb", "--listen", f"127.0.0.1:{site.port}"]
        for port, spec in zip(site.ports, site.workers, strict=True):
            told = f",concurrency={spec.concurrency}" if is_told else ""
            words += ["--backend", f"http://127.0.0.1:{port}{SERVED}{told}"]
        words += ["--queue-size", "10000", "--response-timeout", f"{site.response_timeout_s:g}"]
        return [*words, "--access-log", "off", "--admin", "off", *options]

    return command


def _haproxy(*, is_told: bool) -> Callable[[Site], list[str]]:
    def command(site: Site) -> list[str]:
        text = configs.haproxy(site.port, site.ports, "http")
        if is_told:
            text = text.replace("balance leastconn\n", f"balance leastconn\n{OBSERVING}")
            for number, (port, spec) in enumerate(zip(site.ports, site.workers, strict=True)):
                line = f"    server s{number} 127.0.0.1:{port}"
                text = text.replace(f"{line}\n", f"{line} maxconn {spec.concurrency}\n")
            text = text.replace("timeout connect 5s", "timeout connect 5s\n    timeout queue 60s")
        text = text.replace("timeout server 60s", f"timeout server {site.response_timeout_s * 1000:.0f}ms")
        return [program("haproxy") or "haproxy", "-db", "-f", site.write("haproxy.cfg", text)]

    return command


def _nginx(site: Site) -> list[str]:
    text = configs.nginx(site.port, site.ports, str(site.directory)).replace(" max_fails=0;", ";")
    timeout = f"proxy_read_timeout {site.response_timeout_s * 1000:.0f}ms;"
    text = text.replace("proxy_http_version 1.1;", f"proxy_http_version 1.1;\n            {timeout}")
    return [program("nginx") or "nginx", "-e", "stderr", "-c", site.write("nginx.conf", text)]


LIVE_PEERS = (
    LivePeer("ours", _ours(is_told=False)),
    LivePeer("ours told", _ours(is_told=True)),
    LivePeer("ours told, fifo", _ours("--order", "fifo", is_told=True)),
    LivePeer("haproxy leastconn", _haproxy(is_told=False)),
    LivePeer("haproxy leastconn maxconn", _haproxy(is_told=True)),
    LivePeer("nginx least_conn", _nginx),
)
