"""The balancers that are compared: how each is found, and how it is started for a port and its services.

To add one, add a `Peer` to `PEERS`. Nothing is installed from here: a peer that is missing says how to get it.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench import configs
from bench.workloads import SERVED

BASELINE = {"http": "haproxy", "tcp": "haproxy-tcp"}  # what the ratios refer to, by mode
FORWARDERS = Path(__file__).parent / "forwarders"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one balancer is to run: its port, its services, a directory of its own."""

    port: int
    backend_ports: Sequence[int]
    directory: Path
    options: tuple[str, ...]

    @property
    def urls(self) -> list[str]:
        """The services as a balancer that rewrites paths is told them."""
        return [f"http://127.0.0.1:{port}{SERVED}" for port in self.backend_ports]

    def write(self, name: str, text: str) -> str:
        """Write a configuration file; return its path."""
        path = self.directory / name
        path.write_text(text)
        return str(path)


@dataclass(frozen=True, slots=True)
class Peer:
    """One balancer. `share` is the part of a workload's requests that it is sent: slow ones get fewer."""

    name: str
    title: str
    how_to_get: str
    find: Callable[[], str | None]  # its version, or None
    command: Callable[[Place], list[str]]
    mode: str = "http"
    share: float = 1.0


def program_version(name: str, option: str) -> Callable[[], str | None]:
    """Find a program, also in the system's directories, and ask it for its version."""

    def find() -> str | None:
        if (path := program(name)) is None:
            return None
        done = subprocess.run([path, option], capture_output=True, text=True, check=False)
        found = re.search(r"\d+\.\d+(\.\d+)?[\w.+-]*", done.stdout + done.stderr)
        return found[0] if found else "unknown version"

    return find


def program(name: str) -> str | None:
    """Debian keeps daemons in directories that only root has in its PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def package_versions(*names: str) -> Callable[[], str | None]:
    """Find Python packages and their versions."""

    def find() -> str | None:
        if any(importlib.util.find_spec(name) is None for name in names):
            return None
        return ", ".join(f"{name} {version(name)}" for name in names)

    return find


def find_ours(*needed: str) -> Callable[[], str | None]:
    """Our version, with what the loop needs."""

    def find() -> str | None:
        import ocr_tcp_lb

        others = package_versions(*needed)() if needed else f"Python {sys.version.split()[0]}"
        return None if others is None else f"{ocr_tcp_lb.__version__}, {others}"

    return find


def ours(*options: str) -> Callable[[Place], list[str]]:
    """Our command; told a concurrency, so that nothing waits in its queue and every peer does the same job."""

    def command(place: Place) -> list[str]:
        words = [sys.executable, "-m", "ocr_tcp_lb", "--listen", f"127.0.0.1:{place.port}"]
        for url in place.urls:
            words += ["--backend", url]
        return [*words, "--concurrency", "1000", "--access-log", "off", "--admin", "off", *options, *place.options]

    return command


def haproxy(mode: str) -> Callable[[Place], list[str]]:
    """HAProxy in the foreground."""

    def command(place: Place) -> list[str]:
        text = configs.haproxy(place.port, place.backend_ports, mode)
        return [program("haproxy") or "haproxy", "-db", "-f", place.write("haproxy.cfg", text)]

    return command


def nginx(place: Place) -> list[str]:
    """nginx in the foreground."""
    text = configs.nginx(place.port, place.backend_ports, str(place.directory))
    return [program("nginx") or "nginx", "-e", "stderr", "-c", place.write("nginx.conf", text)]


def forwarder(name: str) -> Callable[[Place], list[str]]:
    """One of the scripts."""
    return lambda place: [sys.executable, str(FORWARDERS / name), str(place.port), *place.urls]


_UVLOOP, _ASYNCIO = ("--loop", "uvloop"), ("--loop", "asyncio")
_GET_HAPROXY, _GET_BENCH = "apt install haproxy", "pip install -e '.[bench]'"
_FLASK = package_versions("flask", "requests")
_find_haproxy = program_version("haproxy", "-v")

PEERS = (
    Peer("ours", "ocr_tcp_lb (uvloop)", "pip install -e .", find_ours("uvloop"), ours(*_UVLOOP)),
    Peer("ours-asyncio", "ocr_tcp_lb (asyncio)", "pip install -e .", find_ours(), ours(*_ASYNCIO)),
    Peer("haproxy", "HAProxy, HTTP mode", _GET_HAPROXY, _find_haproxy, haproxy("http")),
    Peer("nginx", "nginx", "apt install nginx", program_version("nginx", "-v"), nginx),
    Peer(
        "aiohttp",
        "aiohttp script",
        _GET_BENCH,
        package_versions("aiohttp"),
        forwarder("aiohttp_forwarder.py"),
        share=0.1,
    ),
    Peer("flask", "Flask + requests script", _GET_BENCH, _FLASK, forwarder("flask_forwarder.py"), share=0.05),
    Peer(
        "ours-tcp",
        "ocr_tcp_lb --mode tcp (uvloop)",
        "pip install -e .",
        find_ours("uvloop"),
        ours("--mode", "tcp", *_UVLOOP),
        mode="tcp",
    ),
    Peer("haproxy-tcp", "HAProxy, TCP mode", _GET_HAPROXY, _find_haproxy, haproxy("tcp"), mode="tcp"),
)
BY_NAME = {peer.name: peer for peer in PEERS}
