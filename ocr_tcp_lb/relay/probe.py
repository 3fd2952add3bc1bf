"""Active health: backends that are idle or down are checked, so that no request has to find out.

A check is a TCP connect or, where the backend has a `health` path, a GET that is answered with 2xx. A backend with work
in flight is never checked: busy is not down. What a check means is decided by the fleet. `Prober` is also the one clock
of everything that wants a look a few times a second (`Hub.review`).
"""

import asyncio
import logging
import time
from collections.abc import Callable

from ocr_tcp_lb.balance.backend import Backend
from ocr_tcp_lb.balance.chance import Rng
from ocr_tcp_lb.errors import LoadBalancerError
from ocr_tcp_lb.relay.answer import MOST_INTERIM_REPLIES
from ocr_tcp_lb.relay.buffers import scratch_view
from ocr_tcp_lb.relay.connecting import connect
from ocr_tcp_lb.relay.deadlines import NEVER
from ocr_tcp_lb.relay.failures import Refusal
from ocr_tcp_lb.relay.hub import Hub
from ocr_tcp_lb.relay.introduction import header_for_check
from ocr_tcp_lb.relay.readiness import Channel, Wakeup
from ocr_tcp_lb.relay.upstream import Upstream
from ocr_tcp_lb.wire.boundary import reply_head_end
from ocr_tcp_lb.wire.errors import ReplyError

log = logging.getLogger(__name__)

LOOK_S = 0.25  # how late a check, or the discovery of a backend that hangs, may be
JITTER = 0.1  # of the interval, either way, so that several balancers do not check in step
HOLD_INTERVALS = 1.5  # for so many a failed check of a health path keeps trial requests away: until the next one
FIRST_ROUND_S = 0.3  # how long a start waits for the first verdicts; after a crash it is to serve within 1 s
SUCCESS = range(200, 300)


class Probe:
    """One check of one backend, driven by its own wake-up and guarded by the deadline sweep."""

    def __init__(self, hub: Hub, backend: Backend, upstream: Upstream) -> None:
        self.backend = backend
        self.upstream = upstream
        self.wakeup = Wakeup(hub.loop)
        self.deadline = NEVER
        self.expired = False
        self.fault: str | None = None  # what is wrong, once it has ended; None: nothing
        self.is_done = False  # whether there is a verdict
        self._hub = hub

    async def run(self) -> None:
        """Find out; raises nothing but cancellation."""
        hub = self._hub
        self.deadline = time.monotonic() + hub.timeouts.connect_s
        hub.deadlines.guard(self)
        try:
            self.fault = await self._look()
            self.is_done = True
        except Refusal as refusal:
            log.warning("cannot check backend %s: %s", self.backend.name, refusal)  # our fault, not the backend's
        except (LoadBalancerError, OSError) as error:
            self.fault = str(error)
            self.is_done = True
        except Exception:
            log.exception("unexpected error in a check of backend %s", self.backend.name)
        finally:
            hub.deadlines.release(self)

    async def _look(self) -> str | None:
        connection = await connect(self.upstream, self.wakeup, lambda: self.expired)
        try:
            config = self.upstream.config
            if not config.health_path:
                return None
            status = await self._ask(connection.channel)
            return None if status in SUCCESS else f"{config.health_path} answered with status {status}"
        finally:
            connection.channel.close()

    async def _ask(self, channel: Channel) -> int:
        config = self.upstream.config
        introduction = header_for_check(channel.sock, config.send_proxy)
        lines = f"GET {config.health_path} HTTP/1.1\r\nHost: {config.address}\r\nUser-Agent: ocr-tcp-lb\r\n"
        channel.send(introduction + lines.encode("ascii") + b"Accept: */*\r\nConnection: close\r\n\r\n")
        data, interim_replies = b"", 0
        while True:
            channel.want_read()
            while not channel.readable:
                if self.expired:
                    raise TimeoutError(f"{config.health_path} did not answer in time")
                await self.wakeup
            received = channel.receive_into(scratch_view[: self._hub.limits.head_bytes])
            if received == 0:
                raise ConnectionError("the connection was closed before a reply")
            data += bytes(scratch_view[: received or 0])
            while end := reply_head_end(data, self._hub.limits.head_bytes):
                reply = self._hub.replies.parse(data[:end], b"GET")
                if reply.is_final:
                    return reply.status
                interim_replies += 1
                if interim_replies > MOST_INTERIM_REPLIES:
                    raise ReplyError("too many interim replies")
                data = data[end:]


class Prober:
    """Looks at all backends a few times a second, and checks those whose time has come."""

    def __init__(self, hub: Hub, rng: Rng) -> None:
        self._hub = hub
        self._rng = rng
        self._due: dict[Backend, float] = {}
        self._running: dict[Backend, Probe] = {}
        self._faults: dict[Backend, str | None] = {}  # the last verdict on each, to log what is new
        self._first_round: asyncio.Event | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Begin; returns when each backend with a health path has had its first verdict, or after `FIRST_ROUND_S`."""
        self._look()
        if any(probe.upstream.config.health_path for probe in self._running.values()):
            self._first_round = asyncio.Event()
            try:
                await asyncio.wait_for(self._first_round.wait(), FIRST_ROUND_S)
            except TimeoutError:
                pass

    def _look(self) -> None:
        hub = self._hub
        self._timer = hub.loop.call_later(LOOK_S, self._look)
        hub.review()
        interval_s = hub.config.health_interval_s
        if not interval_s or hub.is_draining:
            return
        now = time.monotonic()
        members = hub.fleet.backends
        self._due = {backend: self._due.get(backend, now) for backend in members}
        self._faults = {backend: self._faults.get(backend) for backend in members}
        for backend in members:
            is_idle = not backend.in_flight and now - backend.replied_at >= interval_s
            if is_idle and self._due[backend] <= now and backend not in self._running:
                self._due[backend] = now + interval_s * (1 + JITTER * (2 * self._rng.random() - 1))
                self._begin(backend)

    def _begin(self, backend: Backend) -> None:
        probe = self._running[backend] = Probe(self._hub, backend, self._hub.upstreams[backend])
        probe.wakeup.drive(probe.run(), self._ending_of(probe))

    def _ending_of(self, probe: Probe) -> Callable[[], None]:
        def end() -> None:
            del self._running[probe.backend]
            if probe.is_done and not probe.backend.in_flight and not probe.backend.is_gone:
                self._judge(probe)
            if not self._running and self._first_round is not None:
                self._first_round.set()

        return end

    def _judge(self, probe: Probe) -> None:
        backend, fault = probe.backend, probe.fault
        hold_s = HOLD_INTERVALS * self._hub.config.health_interval_s if probe.upstream.config.health_path else 0.0
        if (fault is None) is not (self._faults.get(backend) is None):
            log.info("backend %s %s", backend.name, f"fails its health check: {fault}" if fault else "is well again")
        self._faults[backend] = fault
        self._hub.checked(backend, fault is None, hold_s)

    def close(self) -> None:
        """Stop looking, and end what is under way."""
        if self._timer is not None:
            self._timer.cancel()
        for probe in list(self._running.values()):
            probe.wakeup.cancel()
