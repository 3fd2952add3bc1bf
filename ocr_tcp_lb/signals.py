"""What signals do: SIGTERM and SIGINT end the run, SIGHUP reloads, or ends it where the terminal was closed."""

import asyncio
import logging
import os
import signal
from collections.abc import Sequence

from ocr_tcp_lb.config import Config
from ocr_tcp_lb.control import Operator
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.ops.systemd import Notifier
from ocr_tcp_lb.relay.server import Server

log = logging.getLogger(__name__)


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


def stop_on_signals(loop: asyncio.AbstractEventLoop) -> Stop:
    """From now on, SIGTERM and SIGINT end the run."""
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.signal, number.name)
    return stop


def reload_on_hangup(loop: asyncio.AbstractEventLoop, stop: Stop, operator: Operator, notifier: Notifier) -> None:
    """From now on, SIGHUP is followed."""
    loop.add_signal_handler(signal.SIGHUP, _hang_up_or_reload, _terminals(), stop, operator, notifier)


def _terminals() -> Sequence[int]:
    """Our standard streams that are a terminal's."""
    return [fd for fd in (0, 1, 2) if os.isatty(fd)]


def _hang_up_or_reload(had: Sequence[int], stop: Stop, operator: Operator, notifier: Notifier) -> None:
    """SIGHUP: the terminal we had was closed, or somebody wants a reload."""
    if had and not _terminals():
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


async def drain(config: Config, server: Server, stop: Stop) -> int:
    """Finish what is under way; returns the exit code, 1 where somebody had to be cut off."""
    draining = asyncio.ensure_future(server.drain(config.timeouts.drain_s))
    insisted = asyncio.ensure_future(stop.wait_for_second())
    await asyncio.wait({draining, insisted}, return_when=asyncio.FIRST_COMPLETED)
    insisted.cancel()
    if not draining.done():
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
        cut_off = server.cut_off()
    else:
        cut_off = draining.result()
    if cut_off:
        log.warning("%s cut off", "1 connection was" if cut_off == 1 else f"{cut_off} connections were")
        return 1
    return 0
