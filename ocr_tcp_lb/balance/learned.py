"""`concurrency=auto`: learn how many requests a backend works on at once, from what a balancer sees anyway.

`Learned` believes in one slot at first, and sends a request on probation to the next one when the request would have
had to wait; the first such even before anything is known, when it costs little and tells much. Two kinds of evidence
move the belief:

- *Overtaking proves parallelism.* An answer that comes while m requests sent earlier are still out took its turn
  beside them: N >= m + 1. An answer that overtook nobody is weighed: had it waited inside for a slot, it would have
  been worked on only since an elder's answer. Was the whole time, or that rest, the likelier service time?
- *Response time by level denies it.* Threads that share one CPU overtake each other all day. If answers take longer
  in proportion to how many were in flight when they were sent, more in flight gains nothing. What the other backends of
  the fleet showed (`Kin`) makes a few such answers enough.

An error upwards costs 2 %, one downwards starves a worker: probing goes on for ever, at growing intervals, and sharing
is not believed in while many wait.

Measured (`python -m bench.sim --policy queue/auto`: 16 fleets, 20 seeds, relative to the all-knowing FIFO queue): mean
0.98, p99 0.87, mean of the first 400 requests 1.04. Workers that share a CPU: 1.00, 1.01 and 1.13. The worst are the
first 400 requests of 12 mixed workers, 1.17. Known to be weak: where 2 CPUs are shared by more threads, 4 at once look
like a gain (mean 1.24 to 1.30); and a shared CPU whose queue never empties is never seen alone, and passes for 2 to 8.
"""

import math

from ocr_tcp_lb.balance.limit import InFlight

MOST = 256  # nobody does more OCR at once; bounds the work per answer
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
SHARING_SLOPE = 0.33  # see `ByLevel`; 0 is parallel, one shared CPU shows 0.6, a single thread 1.0
LOGS = [-math.inf, *(math.log(level) for level in range(1, MOST + 1))]
SHAPE_MAX = 20.0  # of the gamma distribution assumed: no steadier than 22 %, whatever a short sample says


class Kin:
    """What the backends of a fleet know of sharing from each other, because most fleets run one kind of software.

    Their common slope from alone to two at once, where sharing one CPU shows, and two CPUs do not yet. It is the prior
    of each one's own slope, and so kept below `SHARING_SLOPE`: it lets a backend be found out by few answers of its
    own, and none without any. Backends in which nobody was overtaken are left out: a single thread slows its second
    request too, and says nothing about others that do not.
    """

    __slots__ = ("_above", "_alone", "_weight")

    MEMORY = 0.98  # about 50 answers of the whole fleet
    DOUBT = 3.5  # weight of the belief in 0, in answers
    MOST = 0.3

    def __init__(self) -> None:
        self._above = 0.0  # of the logarithm at level 2 above that alone; weighted and forgetting
        self._weight = 0.0
        self._alone = 0  # answers that the baselines rest on

    def learn_alone(self) -> None:
        """Note that a baseline has become better."""
        self._alone += 1

    def learn_pair(self, above: float, weight: float) -> None:
        """Take in an answer to a request that was sent as the second one."""
        self._above = self.MEMORY * self._above + weight * above
        self._weight = self.MEMORY * self._weight + weight

    @property
    def slope(self) -> float:
        """The common slope; what many answers say is known no better than the baselines that they are held against."""
        if not self._weight:
            return 0.0
        known = self._alone / (self._alone + self._weight)
        return min(self.MOST, max(0.0, self._above * known / (self._weight * known + self.DOUBT) / LOGS[2]))


class ByLevel:
    """The elasticity of response time: how its logarithm grows with that of the level it was sent at.

    0: as fast among many as alone; 1: in company of n it takes n times as long. Levels at the time of sending, because
    a level over the whole time depends on how long that was. Logarithms, because one huge page must not decide.
    """

    __slots__ = ("_alone_count", "_alone_log", "_count", "_kin", "_noise", "_sx", "_sxx", "_sxy", "is_overtaking")

    MEMORY = 0.97  # about 33 answers
    FADE = 0.995  # the same while there is no company: what was seen 200 answers ago may be over
    DOUBT = 4.0  # weight of the prior belief, in what the kin show, in units of log(level) squared
    FEW_ALONE = 40.0  # the first answers alone are the shortest ones: one or two say little, and ten nearly all
    LEAST_ALONE = 4.0  # added to the square of their count, so that one or two do say something
    NOISE = 0.25  # variance of the logarithm to begin with: pages of much the same kind

    def __init__(self, kin: Kin | None = None) -> None:
        self._kin = kin or Kin()
        self.is_overtaking = False  # whether it was ever seen to work on two at once
        self._alone_log = 0.0
        self._alone_count = 0
        self._sx = 0.0  # sums over answers in company, forgetting: of x = log(level),
        self._sxx = 0.0  # of its square,
        self._sxy = 0.0  # and of its product with the logarithm of the response time
        self._count = 1
        self._noise = self.NOISE

    def learn(self, level: int, service_s: float) -> None:
        """Take in one answer."""
        log_s = math.log(service_s if service_s > 1e-6 else 1e-6)
        if not self._alone_count:
            self._alone_log = log_s
        residual = above = log_s - self._alone_log
        self._count = count = self._count + 1
        if level == 1:
            self._alone_count += 1
            if self._alone_count <= 20:
                self._kin.learn_alone()
            self._alone_log += (0.05 if self._alone_count > 20 else 1 / self._alone_count) * above
            if self._sxx:
                self._forget(self.FADE)
        else:
            x = LOGS[level]
            self._forget(self.MEMORY)
            self._sx += x
            self._sxx += x * x
            self._sxy += x * log_s
            if level == 2 and self.is_overtaking:
                self._kin.learn_pair(above, 1 / self._rashness**2)
            residual -= x * self._gain / self._sxx
        self._noise += (0.05 if count > 20 else 1 / count) * (residual * residual - self._noise)

    def forget_level(self, level: float) -> None:
        """Let less count what was seen at this level and at those below: the evidence there is for a lower one now."""
        self._forget((level - 1) / level)

    def _forget(self, kept: float) -> None:
        self._sx *= kept
        self._sxx *= kept
        self._sxy *= kept

    @property
    def _gain(self) -> float:
        """The product sum with the time alone taken off: by the latest baseline, which at first is off by much."""
        return self._sxy - self._alone_log * self._sx

    def doubt_baseline(self) -> None:
        """Let the next answers alone count much: the backend may simply have become slower."""
        self._alone_count = min(self._alone_count, 5)

    @property
    def _rashness(self) -> float:
        """How many times too much is read out of answers in company, because few alone are known: 1 is not at all."""
        return 1 + self.FEW_ALONE / (self.LEAST_ALONE + self._alone_count**2)

    @property
    def slope(self) -> float:
        """The elasticity, drawn towards that of the kin while there is little evidence."""
        if not self._alone_count:
            return 0.0
        doubt = self.DOUBT * self._rashness
        return (self._gain + doubt * self._kin.slope) / (self._sxx + doubt)

    @property
    def shape(self) -> float:
        """The shape of a gamma distribution with this much noise: 1 is exponential, more is steadier."""
        return min(SHAPE_MAX, max(1.0, 1 / max(self._noise, 1e-9)))


class Learned:
    """A limit that learns; see the module's docstring for how."""

    __slots__ = (
        "_by_level",
        "_count",
        "_evidence",
        "_gap",
        "_mean_s",
        "_out",
        "_patience",
        "_rest",
        "_was_denied",
        "limit",
        "sure",
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
        self._patience = 0  # answers until it may step down again
        self._rest = 0  # answers under demand until the next probe

    def on_grant(self, attempt: InFlight, in_flight: int) -> None:
        """Remember whom it was sent behind."""
        self._out[attempt] = None
        attempt.level = in_flight
        attempt.sure = sure = self.sure
        attempt.elders_to_wait_for = int(in_flight - sure)
        attempt.begins_at = attempt.granted_at

    def on_answer(
        self, attempt: InFlight, service_s: float | None, now: float, waiting: int, factor: float = 1.0
    ) -> bool:
        """Weigh an answer; one that was sent within the believed slots speaks for the speed."""
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
        self._patience -= 1
        if sure > 1 and self._patience <= 0 and self._is_sharing(waiting):
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
            self.limit = self.sure + 1

    def _is_sharing(self, waiting: int) -> bool:
        """Whether more at once gain nothing, as far as that is to be acted on.

        Not while many wait: a shared CPU then loses next to nothing by having more at once, and parallel slots that
        are taken for one are what made many wait. (With 4 at once, and 1 page in 10 that takes 10 times as long, mean
        1.11 instead of 1.51.)
        """
        return waiting <= FEW_WAITING and self._by_level.slope > SHARING_SLOPE

    def _overtook(self, proven: int, waiting: int) -> None:
        if not self._is_sharing(waiting):
            self._raise(min(proven, MOST))
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
        self.sure = sure
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
        self._patience = 2 + int(self.sure)
        self._gap = FIRST_GAP
        self._by_level.doubt_baseline()
        self._deny()

    def belief(self) -> str:
        """Return the slope and the evidence so far."""
        return f"learned {self.sure:g}, slope {self._by_level.slope:.2f}, evidence {self._evidence:+.1f}"
