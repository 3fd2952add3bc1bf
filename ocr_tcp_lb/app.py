"""The hall: takes the configuration, wires the rooms, runs them until a signal ends it."""

import asyncio
import gc
import logging
import os
import platform
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import ocr_tcp_lb
from ocr_tcp_lb.balance.fleet import Fleet
from ocr_tcp_lb.compiled import is_compiled
from ocr_tcp_lb.config import DEFAULT_ADMIN, Address, Config, PolicyName
from ocr_tcp_lb.control import Operator
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.ops.accesslog import Clock, Formatter, json_formatter, text_formatter
from ocr_tcp_lb.ops.admin.gate import AdminError, read_token
from ocr_tcp_lb.ops.admin.listener import AdminListener, bind, demand_token, page_url
from ocr_tcp_lb.ops.intake import AccessLog, Intake
from ocr_tcp_lb.ops.journal import is_journal, set_up_messages
from ocr_tcp_lb.ops.monitor import About, Monitor
from ocr_tcp_lb.ops.outlet import Outlet
from ocr_tcp_lb.ops.systemd import Notifier, passed_sockets
from ocr_tcp_lb.ops.tally import Tally
from ocr_tcp_lb.relay.hub import Hub, spec_of
from ocr_tcp_lb.relay.listener import open_listeners
from ocr_tcp_lb.relay.loop import choose_loop
from ocr_tcp_lb.relay.poller import new_poller
from ocr_tcp_lb.relay.probe import Prober
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.relay.server import Server
from ocr_tcp_lb.relay.upstream import Upstream

log = logging.getLogger(__name__)


class StartError(LoadBalancerError):
    """The balancer cannot start with this configuration on this machine."""


def run(
    config: Config,
    on_ready: Callable[[Sequence[Address]], None] | None = None,
    load: Callable[[], Config] | None = None,
) -> int:
    """Run until SIGTERM or SIGINT; returns the process's exit code.

    0: every request was served; 1: some had to be cut off when the drain time-out passed, or at a second signal.
    `on_ready` is called with the addresses once clients are accepted, `load` for the configuration anew at SIGHUP.
    Raises StartError.
    """
    set_up_messages(sys.stderr.fileno())
    try:
        loop_name, loop_factory = choose_loop(config.loop)
        doors = open_doors(config)
    except LoadBalancerError as error:
        raise StartError(str(error)) from error
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(_serve(config, loop_name, doors, on_ready, load))


@dataclass(frozen=True, slots=True)
class Doors:
    """The listening sockets, before anybody is let in, and who is let in to the admin listener."""

    clients: Sequence[socket.socket]
    admin: Sequence[socket.socket]
    token: str
    owns_clients: bool  # else the sockets came from systemd, and their files are its own
    owns_admin: bool

    def close(self) -> None:
        """Close all of them; safe when others did."""
        for sock in (*self.clients, *self.admin):
            sock.close()


def open_doors(config: Config) -> Doors:
    """Bind what is configured, or take what systemd passed; nothing stays open if anything fails."""
    passed = passed_sockets()
    token = read_token(config.admin_token_file) if config.admin_token_file else ""
    admin = passed.admin or _open_admin(config)
    try:
        demand_token(admin, token)
        clients = passed.clients or open_listeners(config.listen)
    except BaseException:
        for sock in admin:
            sock.close()
        raise
    return Doors(clients, admin, token, owns_clients=not passed.clients, owns_admin=not passed.admin)


def _open_admin(config: Config) -> Sequence[socket.socket]:
    """The admin sockets; a second balancer on one machine finds the default port taken and goes without."""
    if config.admin is None:
        return ()
    try:
        return bind(config.admin)
    except AdminError as error:
        if config.admin != DEFAULT_ADMIN:
            raise
        log.warning("%s", error)
        return ()


async def _serve(
    config: Config,
    loop_name: str,
    doors: Doors,
    on_ready: Callable[[Sequence[Address]], None] | None,
    load: Callable[[], Config] | None,
) -> int:
    loop = asyncio.get_running_loop()
    intake = build_intake(loop, config, is_watched=bool(doors.admin))
    hub = build_hub(loop, config, intake.take if intake is not None else lambda record: None)
    prober = Prober(hub, random.Random())
    notifier = Notifier()
    async with AsyncExitStack() as ending:
        ending.callback(doors.close)
        if intake is not None:
            ending.callback(intake.close)
        ending.callback(hub.close)
        ending.callback(prober.close)
        ending.callback(notifier.close)
        stop = _stop_on_signals(loop)
        await prober.start()
        server = Server(hub, doors.clients, owns_files=doors.owns_clients)
        ending.callback(server.cut_off)  # whom a start that fails has let in
        operator = Operator(hub, server, load, owns_listeners=doors.owns_clients)
        loop.add_signal_handler(signal.SIGHUP, _hang_up_or_reload, terminals(), stop, operator, notifier)
        announce(config, loop_name, server.addresses, from_systemd=not doors.owns_clients)
        if intake is not None and doors.admin:
            about = About(ocr_tcp_lb.__version__, loop_name, platform.python_version(), config.mode, time.time())
            monitor = Monitor(hub, server, intake, about, notifier)
            ending.callback(monitor.close)
            await _open_to_operators(monitor, doors, operator, ending)
        _calm_garbage_collector()
        notifier.ready(f"listening on {', '.join(map(str, server.addresses))}")
        notifier.feed_watchdog(loop)
        if on_ready is not None:
            on_ready(server.addresses)
        await stop.wait()
        notifier.stopping("finishing what is under way")
        return await _drain(hub.config, server, stop)


async def _open_to_operators(monitor: Monitor, doors: Doors, operator: Operator, ending: AsyncExitStack) -> None:
    """Start the admin listener; it stays open through the drain, so that one can watch it."""
    listener = AdminListener(monitor, doors.token, operator.do)
    ending.push_async_callback(listener.close)
    await listener.start(doors.admin, owns_files=doors.owns_admin)
    log.info("status page, metrics and control: %s", ", ".join(map(page_url, listener.addresses)))


def build_hub(loop: asyncio.AbstractEventLoop, config: Config, on_record: Callable[[Record], None]) -> Hub:
    """Wire the fleet and the upstreams of a configuration into what the relay shares."""
    specs = [spec_of(one) for one in config.backends]
    queue = config.queue
    policy = policy_in_effect(config)
    fleet = Fleet(specs, policy, queue.size, random.Random(), retries=config.retries, order=queue.order)
    poller = new_poller(loop)
    upstreams = {one.name: Upstream(poller, one) for one in config.backends}
    return Hub(poller, config, fleet, upstreams, on_record)


def policy_in_effect(config: Config) -> PolicyName:
    """The policy that serves; in TCP mode `queue` needs limits that were told.

    How long a connection lasts says nothing of a backend's speed, and that one ends before another nothing of what it
    does at once: learned from them, the limit would stay at 1 and keep clients waiting. The least busy is next then.
    """
    is_told = all(backend.concurrency != "auto" for backend in config.backends)
    return config.policy if config.mode == "http" or config.policy != "queue" or is_told else "least-outstanding"


def build_intake(loop: asyncio.AbstractEventLoop, config: Config, *, is_watched: bool) -> Intake | None:
    """What counts and writes the records; None if nobody wants to know."""
    has_log = config.access_log != "off"
    access_log = AccessLog(_formatter(config), Outlet(sys.stdout.fileno())) if has_log else None
    return Intake(loop, Tally() if is_watched else None, access_log) if has_log or is_watched else None


def _formatter(config: Config) -> Formatter:
    if config.access_log == "json":
        return json_formatter(Clock())
    return text_formatter(Clock(), stamped=not is_journal(sys.stdout.fileno()))


def announce(config: Config, loop_name: str, addresses: Sequence[Address], *, from_systemd: bool = False) -> None:
    """Say what was started, on standard error: standard output belongs to the access log."""
    compiled = ", compiled" if is_compiled() else ""
    passed = ", sockets from systemd" if from_systemd else ""
    how = f"{config.mode}, {loop_name} loop{compiled}, policy {policy_in_effect(config)}{passed}"
    lines = [f"listening on {', '.join(map(str, addresses))} ({how})"]
    lines += [
        f"backend {one.name} {one.url} (concurrency {one.concurrency}, weight {one.weight:g})"
        for one in config.backends
    ]
    for line in lines:
        log.info("%s", line)


def _calm_garbage_collector() -> None:
    """Requests leave no cycles behind, so collecting often finds nothing: it took 4 % of the CPU by default."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


class Stop:
    """The signals that end the run: the first asks for a drain, the second for an end at once."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._insisted = asyncio.Event()

    def signal(self, name: str) -> None:
        """Count one signal."""
        if self._asked.is_set():
            log.info("%s again: ending now", name)
            self._insisted.set()
        else:
            log.info("%s: finishing what is under way; again to end now", name)
            self._asked.set()

    async def wait(self) -> None:
        """Until the first signal."""
        await self._asked.wait()

    async def wait_for_second(self) -> None:
        """Until the second signal."""
        await self._insisted.wait()


def terminals() -> Sequence[int]:
    """Our standard streams that are a terminal's."""
    return [fd for fd in (0, 1, 2) if os.isatty(fd)]


def _hang_up_or_reload(had: Sequence[int], stop: Stop, operator: Operator, notifier: Notifier) -> None:
    """SIGHUP: the terminal we had was closed, or somebody wants a reload."""
    if had and not terminals():
        stop.signal("SIGHUP, and the terminal is gone")
    else:
        _reload(operator, notifier)


def _reload(operator: Operator, notifier: Notifier) -> None:
    """Read the configuration again; one with faults is refused, and the old one runs on."""
    notifier.reloading()
    status = "not reloaded, the old configuration runs on: see the log"
    try:
        status = operator.reload()
        log.info("%s", status)
    except LoadBalancerError:
        pass  # the operator's log has it
    finally:
        notifier.ready(status)  # or systemd would wait for it


def _stop_on_signals(loop: asyncio.AbstractEventLoop) -> Stop:
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.signal, number.name)
    return stop


async def _drain(config: Config, server: Server, stop: Stop) -> int:
    drain = asyncio.ensure_future(server.drain(config.timeouts.drain_s))
    insisted = asyncio.ensure_future(stop.wait_for_second())
    await asyncio.wait({drain, insisted}, return_when=asyncio.FIRST_COMPLETED)
    insisted.cancel()
    if not drain.done():
        drain.cancel()
        await asyncio.gather(drain, return_exceptions=True)
        cut_off = server.cut_off()
    else:
        cut_off = drain.result()
    if cut_off:
        log.warning("%s cut off", "1 connection was" if cut_off == 1 else f"{cut_off} connections were")
        return 1
    return 0
