"""Whether more requests at once gain a backend anything, as its response times tell: threads that share one CPU do not.

`ByLevel` looks at one backend, `Kin` at what those of a fleet have in common. Answers in, one number out: the slope.
"""

import math

MOST = 256  # nobody does more OCR at once; bounds the work per answer
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
