"""`concurrency=auto`: learn how many requests a backend works on at once, from what a balancer sees anyway.

`Learned` believes in one slot at first, and sends a request on probation to the next one when the request would have
had to wait; the first such even before anything is known, when it costs little and tells much. Two kinds of evidence
move the belief:

- *Overtaking proves parallelism.* An answer that comes while m requests sent earlier are still out took its turn
  beside them: N >= m + 1. An answer that overtook nobody is weighed: had it waited inside for a slot, it would have
  been worked on only since an elder's answer. Was the whole time, or that rest, the likelier service time?
- *Response time by level denies it.* Threads that share one CPU overtake each other all day. If answers take longer
  in proportion to how many were in flight when they were sent, more in flight gains nothing. What the other backends of
  the fleet showed (`sharing.Kin`) makes a few such answers enough.

An error upwards costs 2 %, one downwards starves a worker: probing goes on for ever, at growing intervals, and sharing
is not believed in while many wait.

Measured (`python -m bench.sim --policy queue/auto`: 16 fleets, 20 seeds, relative to the all-knowing FIFO queue): mean
0.98, p99 0.87, mean of the first 400 requests 1.04. Workers that share a CPU: 1.00, 1.01 and 1.13. The worst are the
first 400 requests of 12 mixed workers, 1.17. Known to be weak: where 2 CPUs are shared by more threads, 4 at once look
like a gain (mean 1.24 to 1.30); and a shared CPU whose queue never empties is never seen alone, and passes for 2 to 8.
"""

import math

from ocr_tcp_lb.balance.limit import InFlight, Limit
from ocr_tcp_lb.balance.sharing import MOST, SHARING_SLOPE, ByLevel, Kin

ENOUGH = 3.0  # log-likelihood that decides: e**3, odds of 20 to 1 (Wald's sequential test at 5 %)
STEP = 2.0  # the most that one answer may say; a single odd page decides nothing
FEW = 2  # answers that told the mean, at which it is half believed
FIRST_GAP = 24  # answers under demand between a denial and the next probe
LAST_GAP = 768
FIRST_LIMIT = 2  # before the first answer: the second of a burst would have to wait anyway, and which is first tells
FIRST_PROBES = 3  # beyond the first slot, after the first answer
BOLD = 2  # how far beyond what is proven to go until the first denial
HURRY = 7  # each answer counts for as many more as wait, up to this
FEW_WAITING = 12  # beyond this, nobody is taken for one whose threads share a CPU; see `Learned._is_sharing`


class Learned(Limit):
    """A limit that learns; see the module's docstring for how."""

    __slots__ = (
        "_answers_to_step_down",
        "_by_level",
        "_count",
        "_evidence",
        "_gap",
        "_mean_s",
        "_out",
        "_rest",
        "_was_denied",
    )

    def __init__(self, kin: Kin | None = None) -> None:
        self.sure = 1.0
        self.limit = float(FIRST_LIMIT)
        self._out: dict[InFlight, None] = {}  # in the order they were sent
        self._mean_s = 0.0
        self._count = 0
        self._by_level = ByLevel(kin)
        self._evidence = 0.0  # for one slot more than `sure`
        self._was_denied = False
        self._gap = FIRST_GAP
        self._answers_to_step_down = 0  # answers until it may step down again
        self._rest = 0  # answers under demand until the next probe

    def on_grant(self, attempt: InFlight, in_flight: int) -> None:
        """Remember whom it was sent behind; `in_flight` counts it."""
        self._out[attempt] = None
        attempt.level = in_flight
        attempt.sure = sure = self.sure
        attempt.elders_to_wait_for = int(in_flight - sure)
        attempt.begins_at = attempt.granted_at

    def on_answer(
        self, attempt: InFlight, service_s: float | None, now: float, waiting: int, factor: float = 1.0
    ) -> bool:
        """Weigh the end of an attempt; `service_s` is None unless it was served, `waiting` is the queue's length.

        `factor` is how long such a request takes relative to the mean, where its size says so. Returns whether the time
        taken speaks for the backend's speed: it does not if the attempt was a probe, which may have waited inside.
        """
        out = self._out
        if attempt not in out:  # granted under a limit that the operator has replaced
            return service_s is not None
        in_flight, elders, sure = len(out), 0, self.sure
        if in_flight > 1:
            elders = self._depart(attempt, now if service_s is None else attempt.granted_at + service_s)
        del out[attempt]
        if in_flight >= sure and self.limit <= sure:
            self._rest_from_probing(waiting)
        if service_s is None:
            return False
        if not self._count:
            self.limit = sure + FIRST_PROBES
        level = attempt.level
        if level <= 2 or level <= sure or level <= attempt.sure:  # what waits inside for want of slots says nothing
            self._by_level.learn(level, service_s / factor)
        if level == 1 or level < sure or not self._count:  # no wait in these, even if `sure` is one too high
            self._count = count = self._count + 1
            self._mean_s += (0.05 if count > 20 else 1 / count) * (service_s / factor - self._mean_s)
        if elders:
            self._by_level.is_overtaking = True
        if elders >= sure:
            self._overtook(elders + 1, waiting)
        elif level > sure == attempt.sure and attempt.elders_to_wait_for <= 0:
            self._weigh(service_s, attempt.begins_at - attempt.granted_at, self._mean_s * factor, waiting)
        self._answers_to_step_down -= 1
        if sure > 1 and self._answers_to_step_down <= 0 and self._is_sharing(waiting):
            self._step_down()
        return level <= sure

    def _depart(self, attempt: InFlight, answered_at: float) -> int:
        """Tell those sent later, and count those sent earlier that are still worked on."""
        elders = 0
        is_elder = True
        for other in self._out:
            if other is attempt:
                is_elder = False
            elif is_elder:
                elders += other.answered_at is None
            elif other.elders_to_wait_for > 0:
                other.elders_to_wait_for -= 1
                other.begins_at = answered_at
        return elders

    def _rest_from_probing(self, waiting: int) -> None:
        self._rest -= 1 + min(waiting, HURRY)
        if self._rest <= 0:
            self.limit = min(MOST, self.sure + 1)

    def _is_sharing(self, waiting: int) -> bool:
        """Whether more at once gain nothing, as far as that is to be acted on.

        Not while many wait: a shared CPU then loses next to nothing by having more at once, and parallel slots that
        are taken for one are what made many wait. (With 4 at once, and 1 page in 10 that takes 10 times as long, mean
        1.11 instead of 1.51.)
        """
        return waiting <= FEW_WAITING and self._by_level.slope > SHARING_SLOPE

    def _overtook(self, proven: int, waiting: int) -> None:
        if not self._is_sharing(waiting):
            self._raise(proven)
        elif self.limit > self.sure:
            self._deny()

    def _weigh(self, service_s: float, waited_s: float, mean_s: float, waiting: int) -> None:
        """Compare the two stories of an answer: worked on all the time, or only after `waited_s`."""
        shape = self._by_level.shape
        worked_s = service_s - waited_s
        if waited_s <= 0 or worked_s <= 0 or not mean_s:
            return
        step = (shape - 1) * math.log(service_s / worked_s) - shape * waited_s / mean_s
        step *= self._count / (self._count + FEW)
        self._evidence += min(STEP, max(-STEP, step))
        if abs(self._evidence) < ENOUGH:
            return
        if self._evidence > 0 and not self._is_sharing(waiting):
            self._raise(self.sure + 1)
        else:
            self._deny()

    def _raise(self, sure: float) -> None:
        self.sure = sure = min(MOST, sure)
        self._evidence = 0.0
        self._gap = FIRST_GAP
        self.limit = min(MOST, sure + 1 if self._was_denied else sure + min(sure, BOLD))

    def _deny(self) -> None:
        self._was_denied = True
        self._evidence = 0.0
        self._rest = self._gap
        self._gap = min(2 * self._gap, LAST_GAP)
        self.limit = self.sure

    def _step_down(self) -> None:
        self._by_level.forget_level(self.sure)
        self.sure -= 1
        self._answers_to_step_down = 2 + int(self.sure)
        self._gap = FIRST_GAP
        self._by_level.doubt_baseline()
        self._deny()

    def belief(self) -> str:
        """Return the slope and the evidence so far."""
        return f"learned {self.sure:g}, slope {self._by_level.slope:.2f}, evidence {self._evidence:+.1f}"
