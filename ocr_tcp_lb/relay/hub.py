"""What all connections share: limits, parsers, the fleet, the upstreams, memory, deadlines, the log.

The hub is the seam between deciding and moving: it hands the fleet's grants to the waiting connections and calls
the fleet again at `next_event_at`. It decides nothing itself but when to let go of ghosts.
"""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial

from ocr_tcp_lb.balance.backend import Backend, BackendSpec
from ocr_tcp_lb.balance.fleet import Fleet
from ocr_tcp_lb.balance.lease import Lease, Ticket
from ocr_tcp_lb.balance.outcome import Outcome
from ocr_tcp_lb.config import BackendConfig, Config
from ocr_tcp_lb.relay.buffers import Slabs, scratch_view
from ocr_tcp_lb.relay.date import DateField
from ocr_tcp_lb.relay.deadlines import Deadlines
from ocr_tcp_lb.relay.poller import Poller
from ocr_tcp_lb.relay.readiness import Wakeup
from ocr_tcp_lb.relay.record import Record
from ocr_tcp_lb.relay.reservoir import Reservoirs
from ocr_tcp_lb.relay.splice import Pipes
from ocr_tcp_lb.relay.upstream import Upstream
from ocr_tcp_lb.wire.requests import RequestParser
from ocr_tcp_lb.wire.responses import ReplyParser
from ocr_tcp_lb.wire.rewrite import Router

log = logging.getLogger(__name__)

PROVEN_AFTER_S = 1.0  # as a proxy before a dead service does, what breaks has mostly broken by then


def spec_of(backend: BackendConfig) -> BackendSpec:
    """What the fleet is to know of a backend."""
    return BackendSpec(backend.name, backend.weight, backend.concurrency)


def shortest_limit_s(config: Config) -> float:
    """The shortest time limit that the deadline sweep has to keep."""
    times = config.timeouts
    return min(times.connect_s, times.head_s, times.idle_s, times.response_s, config.queue.timeout_s)


def _may_be_express(config: Config) -> bool:
    return not (config.debug_headers or config.hedge)


class Hub:
    """The shared things, made once by `app` and read by every connection."""

    def __init__(
        self,
        poller: Poller,
        config: Config,
        fleet: Fleet,
        on_record: Callable[[Record], None],
    ) -> None:
        self.poller = poller
        self.loop = loop = poller.loop
        self._configure(config)
        self.fleet = fleet
        members = zip(fleet.backends, config.backends, strict=True)
        self.upstreams = {backend: Upstream(poller, one) for backend, one in members}  # those who leave with work, too
        self.on_record = on_record
        self.replies = ReplyParser()
        self.date = DateField()
        self._renew_routes()
        self.slabs = Slabs(config.limits.buffer_memory_bytes)
        self.pipes = Pipes()
        self.reservoirs = Reservoirs(self.pipes, self.slabs)
        self.deadlines = Deadlines(loop, shortest_limit_s(config))
        self.is_draining = False
        self.runner_wakeups: set[Wakeup] = set()  # of attempts that nobody waits for alone; see `runner`
        self._id_prefix = secrets.token_hex(6).encode()
        self._id_count = 0
        self._tick_timer: asyncio.TimerHandle | None = None
        self._tick_at = math.inf

    def new_request_id(self) -> bytes:
        """An id that no other request of this or another balancer has: 48 random bits of the process and a count."""
        self._id_count += 1
        return b"%b%08x" % (self._id_prefix, self._id_count)

    def ask(self, ticket: Ticket, now: float) -> Lease | None:
        """Ask the fleet for a backend; None: the ticket waits. Raises what `Fleet.ask` raises."""
        lease = self.fleet.ask(ticket, now)
        if lease is None:
            for displaced in self.fleet.take_displaced():
                displaced.displace()
            if self.fleet.next_event_at < self._tick_at:
                self._arm_tick()
        return lease

    @property
    def lets_go_of_ghosts(self) -> bool:
        """Whether slots need not be kept for work that nobody waits for: the balancer ends, and the queue is empty."""
        return self.is_draining and not self.fleet.waiting

    def settle(self, lease: Lease, outcome: Outcome, now: float) -> None:
        """End a lease and pass the freed slot on."""
        self._follow(self.fleet.settle(lease, outcome, now))

    def begin_reply(self, lease: Lease) -> None:
        """Tell the fleet that a reply has begun that may go on for long."""
        self.fleet.begin_reply(lease)

    def end_reply(self, lease: Lease) -> None:
        """Undo `begin_reply`; before the lease is settled."""
        self.fleet.end_reply(lease)

    def prove(self, lease: Lease) -> None:
        """Tell the fleet that a backend is well, of an attempt that may go on for hours."""
        self._follow(self.fleet.prove(lease, time.monotonic()))

    def prove_after_a_while(self, lease: Lease) -> asyncio.TimerHandle:
        """Call `prove` in PROVEN_AFTER_S. Cancel the handle if the attempt ends first."""
        return self.loop.call_later(PROVEN_AFTER_S, partial(self.prove, lease))

    def let_go(self, lease: Lease) -> bool:
        """Give back the slot of a tunnel, where slots are learned; whether that was done."""
        self._follow(self.fleet.let_go(lease, time.monotonic()))
        return lease.is_settled

    def drain(self, backend: Backend) -> None:
        """Give the backend nothing more; what it has runs on."""
        self._follow(self.fleet.drain(backend, time.monotonic()))

    def undrain(self, backend: Backend) -> None:
        """Undo `drain`."""
        self._follow(self.fleet.undrain(backend, time.monotonic()))

    def checked(self, backend: Backend, is_well: bool, hold_s: float) -> None:
        """Tell the fleet what a health check found."""
        self._follow(self.fleet.checked(backend, is_well, time.monotonic(), hold_s=hold_s))

    def review(self) -> None:
        """What is to be done a few times a second: see who hangs, let go of backends that have left, tell the news."""
        self._follow(self.fleet.review(time.monotonic()))
        for item in self.fleet.news.take():
            log.log(logging.WARNING if item.is_bad else logging.INFO, "%s", item.text)
        self._see_off()

    def add(self, backend: BackendConfig) -> None:
        """Let a backend join."""
        granted = self._enlist(backend, is_draining=False)
        self._renew_routes()
        self._follow(granted)

    def remove(self, backend: Backend) -> None:
        """Let a backend go, once it has finished what it has; not the last one."""
        granted = self._dismiss(backend)
        self._renew_routes()
        self._follow(granted)

    def replace(self, backend: Backend, config: BackendConfig) -> None:
        """Let another backend take the place and the name of one, which finishes what it has; a drain goes on."""
        granted = [*self._enlist(config, is_draining=backend.is_draining), *self._dismiss(backend)]
        self._renew_routes()
        self._follow(granted)

    def adopt(self, backend: Backend, config: BackendConfig) -> None:
        """Give a backend another configuration, perhaps another name, at the same address."""
        self.upstreams[backend].adopt(config)
        self._renew_routes()
        self._follow(self.fleet.adopt(backend, spec_of(config), time.monotonic()))

    def reconfigure(self, config: Config) -> None:
        """Take other bounds and time limits, for requests to come; backends have their own way."""
        self._configure(config)
        self.slabs.capacity_bytes = config.limits.buffer_memory_bytes
        self.deadlines.set_shortest(shortest_limit_s(config))
        queue = config.queue
        self.fleet.set_queue(queue.size, queue.order, config.retries, queue.timeout_s)

    def _configure(self, config: Config) -> None:
        """Keep the configuration, and by itself what every request asks of it."""
        self.config = config
        self.limits = config.limits
        self.timeouts = config.timeouts
        self.requests = RequestParser(max_fields=config.limits.head_fields)
        self.head_room = scratch_view[: config.limits.head_bytes]
        # Whether small requests may take the express lane, which has no time for talk or doubt; off in some tests.
        self.express = _may_be_express(config)
        fair_by = config.queue.fair_by
        self.fair_by_address = fair_by.by == "address"
        self.fair_by_header = fair_by.header.lower().encode() if fair_by.by == "header" else b""

    def _enlist(self, config: BackendConfig, *, is_draining: bool) -> Sequence[Lease]:
        granted = self.fleet.add(spec_of(config), time.monotonic(), is_draining=is_draining)
        self.upstreams[self.fleet.backends[-1]] = Upstream(self.poller, config)
        return granted

    def _dismiss(self, backend: Backend) -> Sequence[Lease]:
        granted = self.fleet.remove(backend, time.monotonic())
        self.upstreams[backend].retire()
        self._see_off()
        return granted

    def _see_off(self) -> None:
        """Forget those who left and have nothing left to do; until then a lease may still ask for its upstream."""
        if len(self.upstreams) > len(self.fleet.backends):
            for backend in [one for one in self.upstreams if one.is_gone and not one.in_flight]:
                del self.upstreams[backend]

    def _renew_routes(self) -> None:
        self.router = Router(self.upstreams[backend].path for backend in self.fleet.backends)

    def _follow(self, granted: Sequence[Lease]) -> None:
        """After any change of the fleet: hand out what it granted, and look again when it says."""
        if granted:
            self._hand_out(granted)
        if self.fleet.next_event_at < self._tick_at:
            self._arm_tick()

    def _hand_out(self, granted: Sequence[Lease]) -> None:
        for lease in granted:
            lease.ticket.grant(lease)

    def _arm_tick(self) -> None:
        due = self.fleet.next_event_at
        if due == math.inf:
            return
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        self._tick_at = due
        self._tick_timer = self.loop.call_later(max(0.0, due - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self._tick_timer = None
        self._tick_at = math.inf
        self._hand_out(self.fleet.tick(time.monotonic()))
        self._arm_tick()

    def close(self) -> None:
        """Let go of timers, pipes and idle backend connections; end what runs on its own."""
        for wakeup in list(self.runner_wakeups):
            wakeup.cancel()
        if self._tick_timer is not None:
            self._tick_timer.cancel()
            self._tick_timer = None
        self.deadlines.close()
        self.poller.close()
        self.reservoirs.close()
        self.pipes.close()
        for upstream in self.upstreams.values():
            upstream.close()
