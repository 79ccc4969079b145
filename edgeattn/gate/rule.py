"""What one series of paired differences says: fail, pass, or not enough pairs yet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import NormalDist

from edgeattn.bench.statistics import hodges_lehmann
from edgeattn.errors import InputError

# Of the Hodges-Lehmann estimate against the mean of normal noise, in standard errors: sqrt(pi / 3).
_HODGES_LEHMANN = math.sqrt(math.pi / 3)
_POWER = 0.95


class Verdict(str, Enum):
    """What a gate says of one metric, or of the whole."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True)
class Look:
    """A look at the data: after how many pairs, and the chance that a bound is on the wrong side at this look."""

    pairs: int
    alpha: float


@dataclass(frozen=True)
class Finding:
    """What the differences say at a look.

    verdict: None where more pairs are needed. ratio: candidate / baseline, the Hodges-Lehmann estimate. low, high: its
    one-sided bounds, each wrong with chance `alpha` at most; None with fewer than two pairs.
    minimum_detectable: the slowdown, such as 0.03, that two runs of the most pairs tell from what is ignored with 95 %
    power in this noise. A smaller catch than this leads to INCONCLUSIVE.
    """

    verdict: Verdict | None
    ratio: float
    low: float | None
    high: float | None
    pairs: int
    alpha: float
    minimum_detectable: float | None


@dataclass(frozen=True)
class Rule:
    """The sequential test of one metric.

    A difference is d = ln(candidate / baseline) of one pair, so that more is worse. ignore: a change up to this never
    fails, except by chance. catch: a change of this much never passes, except by chance. The chances of all looks add
    up to 0.5 %.
    """

    ignore: float = 0.01
    catch: float = 0.05
    looks: tuple[Look, ...] = (Look(10, 0.001), Look(20, 0.0015), Look(40, 0.0025))

    def __post_init__(self) -> None:
        if not 0 <= self.ignore < self.catch:
            raise InputError(
                f"ignore {self.ignore:.1%} is not less than catch {self.catch:.1%}",
                where="--ignore, --catch",
                fix="catch a larger change than is ignored, such as --ignore 1 --catch 5",
            )

    def judge(self, differences: Sequence[float], look: Look) -> Finding:
        """What the differences say at `look`. Failing is checked first."""
        # Two one-sided bounds, each at alpha, are the ends of one two-sided interval at 2 alpha.
        estimate = hodges_lehmann(differences, 2 * look.alpha)
        low, high = (None if bound is None else math.exp(bound) for bound in (estimate.low, estimate.high))
        exact = estimate.confidence is not None and 1 - estimate.confidence <= 2 * look.alpha
        verdict = None
        if exact and low is not None and low > 1 + self.ignore:
            verdict = Verdict.FAIL
        elif exact and high is not None and high < 1 + self.catch:
            verdict = Verdict.PASS
        return Finding(
            verdict, math.exp(estimate.value), low, high, len(differences), look.alpha, self._detectable(differences)
        )

    def _detectable(self, differences: Sequence[float]) -> float | None:
        """See `Finding`. It leaves out that a gate may pass a slowdown below its catch before the last look."""
        spread = standard_deviation(differences)
        if spread is None:
            return None
        last, normal = self.looks[-1], NormalDist()
        # A failure has to repeat: each run needs the root of the power.
        deviations = normal.inv_cdf(1 - last.alpha) + normal.inv_cdf(math.sqrt(_POWER))
        return math.exp(math.log1p(self.ignore) + deviations * _HODGES_LEHMANN * spread / math.sqrt(last.pairs)) - 1


def standard_deviation(differences: Sequence[float]) -> float | None:
    """Of one difference, from the width of the 95 % rank interval, which outliers hardly move (Lehmann, 1963)."""
    estimate = hodges_lehmann(differences)
    if estimate.low is None or estimate.high is None or estimate.confidence is None:
        return None
    deviations = 2 * NormalDist().inv_cdf((1 + estimate.confidence) / 2)
    return (estimate.high - estimate.low) / deviations * math.sqrt(len(differences)) / _HODGES_LEHMANN
