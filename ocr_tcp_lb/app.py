"""The hall: takes the configuration, wires the rooms, runs them until a signal ends it."""

import asyncio
import gc
import logging
import platform
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import ocr_tcp_lb
from ocr_tcp_lb.balance.fleet import Fleet
from ocr_tcp_lb.compiled import is_compiled
from ocr_tcp_lb.config import Address, Config, PolicyName
from ocr_tcp_lb.control import Operator
from ocr_tcp_lb.doors import Doors, open_doors
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.ops.accesslog import Clock, json_formatter, json_report, text_formatter
from ocr_tcp_lb.ops.admin.listener import AdminListener, page_url
from ocr_tcp_lb.ops.intake import AccessLog, Intake
from ocr_tcp_lb.ops.journal import flush_messages, is_journal, set_up_messages
from ocr_tcp_lb.ops.monitor import About, Monitor
from ocr_tcp_lb.ops.outlet import Outlet
from ocr_tcp_lb.ops.systemd import Notifier
from ocr_tcp_lb.ops.tally import Tally
from ocr_tcp_lb.relay.descriptors import allow_descriptors
from ocr_tcp_lb.relay.hub import Hub, spec_of
from ocr_tcp_lb.relay.loop import choose_loop
from ocr_tcp_lb.relay.poller import new_poller
from ocr_tcp_lb.relay.probe import Prober
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.relay.server import Server
from ocr_tcp_lb.signals import drain, reload_on_hangup, stop_on_signals

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
        try:
            loop_name, loop_factory = choose_loop(config.loop)
            doors = open_doors(config)
        except LoadBalancerError as error:
            raise StartError(str(error)) from error
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(_serve(config, loop_name, doors, on_ready, load))
    finally:
        flush_messages()  # what is said of an exception comes after them


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
        stop = stop_on_signals(loop)
        await prober.start()
        server = Server(hub, doors.clients, owns_files=doors.owns_clients)
        ending.callback(server.cut_off)  # whom a start that fails has let in
        operator = Operator(hub, server, load, owns_listeners=doors.owns_clients)
        reload_on_hangup(loop, stop, operator, notifier)
        if warning := allow_descriptors(config.limits.connections):
            log.warning("%s", warning)
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
        return await drain(hub.config, server, stop)


async def _open_to_operators(monitor: Monitor, doors: Doors, operator: Operator, ending: AsyncExitStack) -> None:
    """Start the admin listener; it stays open through the drain, so that one can watch it."""
    listener = AdminListener(monitor, doors.token, operator.do)
    ending.push_async_callback(listener.close)
    await listener.start(doors.admin, owns_files=doors.owns_admin)
    log.info("status page, metrics and control: %s", ", ".join(map(page_url, listener.addresses)))


def build_hub(loop: asyncio.AbstractEventLoop, config: Config, on_record: Callable[[Record], None]) -> Hub:
    """Wire the fleet of a configuration into what the relay shares."""
    specs = [spec_of(one) for one in config.backends]
    queue = config.queue
    policy = policy_in_effect(config)
    fleet = Fleet(
        specs,
        policy,
        queue.size,
        random.Random(),
        retries=config.retries,
        order=queue.order,
        queue_timeout_s=queue.timeout_s,
    )
    return Hub(new_poller(loop), config, fleet, on_record)


def policy_in_effect(config: Config) -> PolicyName:
    """The policy that serves; in TCP mode `queue` is least-outstanding, with the same queue before told limits.

    How long a connection lasts says nothing of a backend's speed, only of what its client wants; and that one ends
    before another nothing of what it does at once. Learned from them, clients would wait while a slot is free.
    """
    return "least-outstanding" if config.mode == "tcp" and config.policy == "queue" else config.policy


def build_intake(loop: asyncio.AbstractEventLoop, config: Config, *, is_watched: bool) -> Intake | None:
    """What counts and writes the records; None if nobody wants to know."""
    access_log = _access_log(config, sys.stdout.fileno()) if config.access_log != "off" else None
    return Intake(loop, Tally() if is_watched else None, access_log) if access_log or is_watched else None


def _access_log(config: Config, fd: int) -> AccessLog:
    if config.access_log == "json":
        return AccessLog(json_formatter(Clock()), Outlet(fd, json_report))
    return AccessLog(text_formatter(Clock(), stamped=not is_journal(fd)), Outlet(fd))


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
