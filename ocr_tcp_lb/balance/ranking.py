"""The open backends in order of speed, for the `queue` policy: the fastest free one in O(log n), and the hold rule.

A `Ranking` keeps two heaps, of backends with a believed slot free and of those that may only be probed, and a ledger
of how fast the full ones free their slots. `refresh` is to be called after anything about a backend changed; nothing
else moves. Speeds count in steps of 19 %: two backends closer than that are equal, and share by load and turn. 1,000
backends with 10,000 waiting cost 1.3 to 1.5 times the CPU per decision of 3 with 10 (`python -m bench.sim --cost`).
"""

import heapq
import math

from ocr_tcp_lb.balance.backend import Backend

STEPS_PER_OCTAVE = 4
LOWEST_OCTAVE = -14  # 61 us
BUCKETS = 32 * STEPS_PER_OCTAVE  # up to 3 days
BETA = 2.0  # see `Ranking.is_better_held`; of 1.5, 2, 3 and 4 it did best, and 1.5 cost 8 % with 12 mixed backends
CLOCK_S = 1e-6  # (a + b) - a may fall short of b: whoever is let go at a set time must not wait for the last bit
RATE_UNIT = 1e9  # rates are whole numbers of this part of 1/s, so that adding and removing leaves no crumbs


def bucket_of(service_s: float) -> int:
    """Return the step that a service time falls on; 0 is unknown."""
    if service_s <= 0:
        return 0
    step = (math.log2(service_s) - LOWEST_OCTAVE) * STEPS_PER_OCTAVE
    return min(BUCKETS - 1, max(1, round(step)))


class _Heap:
    """A heap of backends whose keys change: an entry is valid while it is the backend's latest."""

    __slots__ = ("_entries", "_latest")

    def __init__(self) -> None:
        self._entries: list[tuple[tuple[float, ...], int, Backend]] = []
        self._latest: dict[Backend, tuple[tuple[float, ...], int, Backend]] = {}

    def __len__(self) -> int:
        return len(self._latest)

    def put(self, backend: Backend, key: tuple[float, ...]) -> None:
        """Add the backend, or change its key."""
        entry = self._latest.get(backend)
        if entry is not None and entry[0] == key:
            return
        entry = (key, backend.number, backend)
        self._latest[backend] = entry
        heapq.heappush(self._entries, entry)
        if len(self._entries) > 2 * len(self._latest) + 64:
            self._entries = list(self._latest.values())
            heapq.heapify(self._entries)

    def discard(self, backend: Backend) -> None:
        """Remove the backend if it is here."""
        self._latest.pop(backend, None)

    def best(self) -> Backend | None:
        """Return the backend with the lowest key."""
        entries, latest = self._entries, self._latest
        while entries:
            entry = entries[0]
            if latest.get(entry[2]) is entry:
                return entry[2]
            heapq.heappop(entries)
        return None


class Ranking:
    """Who is open, by speed; and how fast the busy ones will be free again."""

    __slots__ = ("_busy_rates", "_busy_slots", "_cost_s", "_free", "_ledger", "_probes")

    def __init__(self) -> None:
        self._free = _Heap()
        self._probes = _Heap()
        self._busy_rates = [0] * BUCKETS  # of slots that free themselves, by speed, in RATE_UNIT
        self._busy_slots = [0] * BUCKETS
        self._cost_s: dict[Backend, float] = {}  # expected service time over weight
        self._ledger: dict[Backend, tuple[int, int, int]] = {}  # what each backend has in the two sums

    def refresh(self, backend: Backend, now: float) -> None:
        """Put the backend where it now belongs."""
        sure = backend.limiter.sure
        cost_s = backend.service.optimistic_s(now) / backend.weight
        bucket = bucket_of(cost_s)
        self._cost_s[backend] = cost_s
        is_free = backend.is_eligible and backend.in_flight < sure
        if is_free:
            self._free.put(backend, (bucket, backend.in_flight / sure, backend.last_turn))
            self._probes.discard(backend)
        else:
            self._free.discard(backend)
            if backend.is_eligible:
                self._probes.put(
                    backend, (backend.in_flight > sure, bucket, backend.in_flight / sure, backend.last_turn)
                )
            else:
                self._probes.discard(backend)
        self._account(backend, bucket, cost_s, is_busy=not is_free and backend.is_in_service)

    def _account(self, backend: Backend, bucket: int, cost_s: float, *, is_busy: bool) -> None:
        slots = min(backend.in_flight, int(min(backend.limiter.sure, 1e6))) if is_busy and bucket else 0
        rate = round(RATE_UNIT * slots / cost_s) if slots else 0
        old = self._ledger.get(backend, (0, 0, 0))
        new = (bucket, rate, slots)
        if old != new:
            self._busy_rates[old[0]] -= old[1]
            self._busy_slots[old[0]] -= old[2]
            self._busy_rates[bucket] += rate
            self._busy_slots[bucket] += slots
            self._ledger[backend] = new

    def choose(self, position: int, waited_s: float, may_pile: bool = False) -> Backend | None:
        """Return who serves the request that stands at `position` in the queue (1 is first), or None: it waits.

        The fastest free backend, unless the request is better held; then one to probe. Whoever has waited for as
        long as the backend would have taken is not held any more: the faster ones did not keep their promise.
        """
        for backend in (self._free.best(), self._best_probe(may_pile)):
            if backend is not None and (
                waited_s + CLOCK_S >= self._cost_s[backend] or not self.is_better_held(backend, position)
            ):
                return backend
        return None

    def _best_probe(self, may_pile: bool) -> Backend | None:
        """Return whom to probe; with `may_pile` also one that is being probed already."""
        backend = self._probes.best()
        is_probed = backend is not None and backend.in_flight > backend.limiter.sure
        return None if is_probed and not may_pile else backend

    def has_open(self, may_pile: bool = False) -> bool:
        """Whether any backend is free or may be probed."""
        return bool(self._free) or self._best_probe(may_pile) is not None

    def hold_s(self) -> float:
        """Return for how long `choose` may hold a request; infinite when nothing is open."""
        backends = (self._free.best(), self._best_probe(may_pile=False))
        return min((self._cost_s[backend] for backend in backends if backend is not None), default=math.inf)

    def is_better_held(self, backend: Backend, position: int) -> bool:
        """Whether waiting for a faster backend promises more than this one: the hold rule.

        R is the rate at which the n slots of faster, busy backends free themselves. A request at this position waits
        position / R and is then served in n / R on average. The free backend is used if its service time is at most
        BETA times that. BETA above 1, because whoever waits delays those behind. With one of three backends 10 times
        slower it takes mean and p99 to 0.93 and 0.52 of the FIFO ideal's, at half load to 0.72 and 0.23, and costs
        nothing elsewhere (`python -m bench.sim --policy queue/told`).
        """
        bucket = self._ledger[backend][0] - STEPS_PER_OCTAVE // 2
        slots = sum(self._busy_slots[:bucket]) if bucket > 0 else 0
        if not slots:
            return False
        rate = sum(self._busy_rates[:bucket]) / RATE_UNIT
        return self._cost_s[backend] * rate > BETA * (position + slots)
