"""The hall: takes the configuration, wires the rooms, runs them until a signal ends it."""

import asyncio
import gc
import logging
import random
import signal
import sys
from collections.abc import Callable, Sequence

from ocr_tcp_lb.balance.backend import BackendSpec
from ocr_tcp_lb.balance.fleet import Fleet
from ocr_tcp_lb.config import Address, Config
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.ops.accesslog import Clock, json_formatter, text_formatter
from ocr_tcp_lb.ops.outlet import Outlet
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.listener import ListenError, open_listeners
from ocr_tcp_lb.relay.loop import LoopUnavailable, choose_loop
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.relay.server import Server
from ocr_tcp_lb.relay.upstream import Upstream

log = logging.getLogger(__name__)


class StartError(LoadBalancerError):
    """The balancer cannot start with this configuration on this machine."""


def run(config: Config, on_ready: Callable[[Sequence[Address]], None] | None = None) -> int:
    """Run until SIGTERM or SIGINT; returns the process's exit code.

    0: every request was served; 1: some had to be cut off when the drain time-out passed, or at a second signal.
    `on_ready` is called with the addresses once clients are accepted. Raises StartError.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")  # to standard error
    try:
        loop_name, loop_factory = choose_loop(config.loop)
    except LoopUnavailable as error:
        raise StartError(str(error)) from error
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(_serve(config, loop_name, on_ready))


async def _serve(config: Config, loop_name: str, on_ready: Callable[[Sequence[Address]], None] | None) -> int:
    loop = asyncio.get_running_loop()
    try:
        sockets = open_listeners(config.listen)
    except ListenError as error:
        raise StartError(str(error)) from error
    outlet = Outlet(loop, sys.stdout.fileno()) if config.access_log != "off" else None
    hub = build_hub(loop, config, access_log(config, outlet))
    server = Server(hub, sockets)
    try:
        stop = _stop_on_signals(loop)
        _calm_garbage_collector()
        announce(config, loop_name, server.addresses)
        if on_ready is not None:
            on_ready(server.addresses)
        await stop.wait()
        return await _drain(config, server, stop)
    finally:
        hub.close()
        if outlet is not None:
            outlet.close()


def build_hub(loop: asyncio.AbstractEventLoop, config: Config, on_record: Callable[[Record], None]) -> Hub:
    """Wire the fleet and the upstreams of a configuration into what the relay shares."""
    specs = [BackendSpec(one.name, one.weight, one.concurrency) for one in config.backends]
    fleet = Fleet(specs, config.policy, config.queue.size, random.Random(), retries=config.retries)
    upstreams = {one.name: Upstream(loop, one) for one in config.backends}
    return Hub(loop, config, fleet, upstreams, on_record)


def access_log(config: Config, outlet: Outlet | None) -> Callable[[Record], None]:
    """What is done with each record."""
    if outlet is None:
        return lambda record: None
    formatter = json_formatter(Clock()) if config.access_log == "json" else text_formatter(Clock())
    return lambda record: outlet.write(formatter(record))


def announce(config: Config, loop_name: str, addresses: Sequence[Address]) -> None:
    """Say what was started, on standard error: standard output belongs to the access log."""
    lines = [f"listening on {', '.join(map(str, addresses))} ({config.mode}, {loop_name} loop, policy {config.policy})"]
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
        log.warning("%d connections were cut off", cut_off)
        return 1
    return 0
