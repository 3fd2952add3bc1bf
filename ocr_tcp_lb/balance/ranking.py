"""The open backends in order of speed, for the `queue` policy: the fastest free one in O(log n), and the hold rule.

A `Ranking` keeps two heaps, of backends with a believed slot free and of those that may only be probed, and a ledger
of how fast the full ones free their slots. The heaps are ordered by service time over weight; the hold rule and the
ledger know only time, or a small weight would make clients wait beside an idle backend. `refresh` is to be called after
anything about a backend changed; nothing else moves. Speeds count in steps of 19 %: two backends on the same step are
equal, and share by load and turn. A decision with 1,000 backends and 10,000 waiting costs 1.3 times the CPU of one with
3 and 10, and 1.8 to 2.1 times while half the slots are free (`python -m bench.sim --cost`).
"""

import heapq
import math
from bisect import bisect_left
from typing import Any, Final

from ocr_tcp_lb.balance.backend import Backend

STEPS_PER_OCTAVE = 4
LOWEST_OCTAVE = -14  # 61 us
BUCKETS = 32 * STEPS_PER_OCTAVE  # up to 3 days
BETA = 2.0  # see `Ranking.is_better_held`; of 1.5, 2, 3 and 4 it did best, and 1.5 cost 8 % with 12 mixed backends
CLOCK_S: Final = 1e-6  # (a + b) - a may fall short of b: whoever is let go at a set time must not wait for the last bit
RATE_UNIT = 1e9  # rates are whole numbers of this part of 1/s, so that adding and removing leaves no crumbs

# Step k covers what is nearest to 2 ** (k / STEPS_PER_OCTAVE) times the lowest; each entry is a step's upper bound.
_BOUNDS_S: Final = [0.0, *(2 ** ((step + 0.5) / STEPS_PER_OCTAVE + LOWEST_OCTAVE) for step in range(1, BUCKETS - 1))]

_Entry = tuple[Any, ...]  # (what the heap is ordered by ..., number of the backend, number of the entry, _Place)


def bucket_of(service_s: float) -> int:
    """Return the step that a service time falls on; 0 is unknown."""
    return bisect_left(_BOUNDS_S, service_s)


class _Place:
    """Where one backend stands."""

    __slots__ = ("backend", "booked_bucket", "booked_rate", "booked_slots", "bucket", "entry", "service_s", "speed")

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.service_s = 0.0  # expected
        self.speed = 0  # the step that it falls on
        self.bucket = 0  # the step of the service time over weight; a place lives no longer than its backend's weight
        self.entry = 0  # the number of the one valid entry in either heap; of none while nothing may come here
        self.booked_bucket = 0  # what it has in the ledger
        self.booked_slots = 0
        self.booked_rate = 0


def _best(heap: list[_Entry]) -> _Place | None:
    """Return the place with the lowest key, dropping entries that are no longer valid."""
    while heap:
        entry = heap[0]
        place: _Place = entry[-1]
        if place.entry == entry[-2]:
            return place
        heapq.heappop(heap)
    return None


class Ranking:
    """Who is open, by speed; and how fast the busy ones will be free again."""

    __slots__ = (
        "_busy_backends",
        "_busy_rates",
        "_busy_slots",
        "_fastest",
        "_free",
        "_has_weights",
        "_places",
        "_probes",
    )

    def __init__(self) -> None:
        self._places: dict[Backend, _Place] = {}
        self._free: list[_Entry] = []
        self._probes: list[_Entry] = []
        self._busy_backends = 0
        self._has_weights = False
        self._busy_rates = [0] * BUCKETS  # of slots that free themselves, by speed, in RATE_UNIT
        self._busy_slots = [0] * BUCKETS
        self._fastest = BUCKETS  # the lowest step that was ever in the ledger: below it there is nothing to add up

    def refresh(self, backend: Backend, now: float) -> None:
        """Put the backend where its speed, load and health say."""
        place = self._places.get(backend)
        if place is None:
            place = self._places[backend] = _Place(backend)
            self._has_weights = self._has_weights or backend.weight != 1.0
        service = backend.service
        # One request measures anew where an estimate has expired; till its reply begins, the others go by the old one.
        service_s = service.expected_s if now <= service.expires_at or backend.in_flight > backend.replying else 0.0
        if service_s != place.service_s:
            place.service_s = service_s
            place.speed = place.bucket = bisect_left(_BOUNDS_S, service_s)
            if backend.weight != 1.0:
                place.bucket = bisect_left(_BOUNDS_S, service_s / backend.weight)
        in_flight, sure = backend.in_flight, backend.limiter.sure
        # `is_eligible` written out: this runs twice a request
        is_shut = not backend.health.takes_requests or backend.is_draining or backend.is_silent
        number = place.entry = place.entry + 1
        if not is_shut and in_flight < backend.limiter.limit:
            load = in_flight / sure
            if in_flight < sure:
                heap = self._free
                # The load is below 1, so that its sum with the step orders by step, then by load.
                entry = (place.bucket + load, backend.last_grant, backend.number, number, place)
                if heap and heap[0][-1].entry != heap[0][-2]:  # the top is void: most often the backend chosen last
                    heapq.heapreplace(heap, entry)
                else:
                    self._put(heap, entry)
                if place.booked_slots:
                    self._book(place, 0)
                return
            key = (in_flight > sure, place.bucket, load, backend.last_grant, backend.number, number, place)
            self._put(self._probes, key)
        slots = 0
        if place.speed and backend.is_in_service:
            slots = in_flight if in_flight < sure else int(sure)
        if slots or place.booked_slots:
            self._book(place, slots)

    def _put(self, heap: list[_Entry], entry: _Entry) -> None:
        """Add an entry; the place's old one is dropped when it comes to the top, or when too many have gathered."""
        heapq.heappush(heap, entry)
        if len(heap) > 2 * len(self._places) + 64:
            heap[:] = [one for one in heap if one[-1].entry == one[-2]]
            heapq.heapify(heap)

    def _book(self, place: _Place, slots: int) -> None:
        """Enter into the ledger that the backend has this many slots that will free themselves."""
        had, bucket = place.booked_slots, place.speed
        rate = round(RATE_UNIT * slots / max(place.service_s, CLOCK_S)) if slots else 0
        if had:
            self._busy_rates[place.booked_bucket] -= place.booked_rate
            self._busy_slots[place.booked_bucket] -= had
        if slots:
            self._busy_rates[bucket] += rate
            self._busy_slots[bucket] += slots
            if bucket < self._fastest:
                self._fastest = bucket
        self._busy_backends += (slots > 0) - (had > 0)
        place.booked_bucket, place.booked_rate, place.booked_slots = bucket, rate, slots

    def choose(self, position: int, waited_s: float, may_pile: bool = False) -> Backend | None:
        """Return who serves the request that stands at `position` in the queue (1 is first), or None: it waits.

        The fastest free backend, unless the request is better held; then one to probe. Whoever has waited for as
        long as the backend would have taken is not held any more: the faster ones did not keep their promise.
        """
        place = _best(self._free)
        if place is not None and not (self._busy_backends and self._is_held(place, position, waited_s)):
            return place.backend
        if place is not None and self._has_weights:  # whoever is preferred is too slow now; others may not be
            place = self._quickest_free()
            if not self._is_held(place, position, waited_s):
                return place.backend
        place = self._best_probe(may_pile)
        if place is not None and not self._is_held(place, position, waited_s):
            return place.backend
        return None

    def _is_held(self, place: _Place, position: int, waited_s: float) -> bool:
        return waited_s + CLOCK_S < place.service_s and self._is_better_held(place, position)

    def _best_probe(self, may_pile: bool) -> _Place | None:
        """Return whom to probe; with `may_pile` also one that is being probed already."""
        place = _best(self._probes)
        is_probed = place is not None and place.backend.in_flight > place.backend.limiter.sure
        return None if is_probed and not may_pile else place

    def _quickest_free(self) -> _Place:
        """Return which of the free ones takes the least time; there must be one. O(n), for fleets with weights."""
        places: list[_Place] = [entry[-1] for entry in self._free if entry[-1].entry == entry[-2]]
        return min(places, key=lambda place: place.service_s)

    def has_open(self, may_pile: bool = False) -> bool:
        """Whether any backend is free or may be probed."""
        return _best(self._free) is not None or self._best_probe(may_pile) is not None

    def hold_s(self) -> float:
        """Return for how long `choose` may hold a request; infinite when nothing is open."""
        free, probe = _best(self._free), self._best_probe(may_pile=False)
        if free is None:
            return math.inf if probe is None else probe.service_s
        if self._has_weights:
            free = self._quickest_free()
        return free.service_s if probe is None or free.service_s < probe.service_s else probe.service_s

    def _is_better_held(self, place: _Place, position: int) -> bool:
        """Whether waiting for a faster backend promises more than this one: the hold rule.

        R is the rate at which the n slots of faster, busy backends free themselves. A request at this position waits
        position / R and is then served in n / R on average. The free backend is used if its service time is at most
        BETA times that. BETA above 1, because whoever waits delays those behind. With one of three backends 10 times
        slower it takes mean and p99 to 0.93 and 0.52 of the FIFO ideal's, at half load to 0.74 and 0.25, and costs
        nothing elsewhere (`python -m bench.sim --policy queue/told`).
        """
        faster = slice(self._fastest, max(0, place.speed - STEPS_PER_OCTAVE // 2))
        slots = sum(self._busy_slots[faster])
        if not slots:
            return False
        rate = sum(self._busy_rates[faster]) / RATE_UNIT
        return place.service_s * rate > BETA * (position + slots)
