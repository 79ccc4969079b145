"""Percentiles with their sample floors, and the paired ratio with its exact interval. numpy only."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# With fewer samples MLPerf Inference does not report a percentile (its early-stopping floors).
FLOORS = {50: 1, 90: 64, 99: 662}


def percentile(series: ArrayLike, percent: int) -> float | None:
    """The `percent`-th percentile of a series, None when the series has fewer samples than the floor."""
    values = np.asarray(series, dtype=np.float64)
    return float(np.percentile(values, percent)) if len(values) >= FLOORS[percent] else None


def outliers(series: ArrayLike) -> int:
    """How many values lie beyond Tukey's outer fence, three interquartile ranges above the third quartile.

    Source: Tukey, Exploratory Data Analysis, 1977, chapter 2.
    """
    values = np.asarray(series, dtype=np.float64)
    first, third = np.percentile(values, (25, 75))
    return int(np.sum(values > third + 3 * (third - first)))


@dataclass(frozen=True)
class Estimate:
    """A Hodges-Lehmann estimate with its exact Wilcoxon signed-rank interval.

    confidence: the actual coverage of the interval, such as 0.96875 with 6 pairs; None without an interval.
    """

    value: float
    low: float | None
    high: float | None
    confidence: float | None


def walsh_averages(differences: ArrayLike) -> NDArray[np.float64]:
    """The sorted averages of all pairs, including each value with itself. [n] -> [n (n + 1) / 2]."""
    d = np.asarray(differences, dtype=np.float64)
    i, j = np.triu_indices(len(d))
    return np.sort((d[i] + d[j]) / 2)


def signed_rank_counts(pairs: int) -> list[int]:
    """How many of the 2^n sign patterns give each value of Wilcoxon's W = 0 .. n (n + 1) / 2. Exact integers."""
    counts = [1]
    for rank in range(1, pairs + 1):
        shifted = [0] * rank + counts
        counts = [a + b for a, b in zip(counts + [0] * rank, shifted, strict=True)]
    return counts


def hodges_lehmann(differences: Sequence[float], alpha: float = 0.05) -> Estimate:
    """The median of the Walsh averages, and the widest-ranked interval that still covers 1 - alpha.

    With too few pairs for 1 - alpha (5 or fewer at 0.05) the interval is the full range of the averages and
    `confidence` says how much that covers. Source: Hollander, Wolfe, Chicken, Nonparametric Statistical
    Methods, 3rd edition, sections 3.2 and 3.3.
    """
    averages = walsh_averages(differences)
    estimate = float(np.median(averages))
    if len(differences) < 2:
        return Estimate(estimate, None, None, None)
    cut, tail = _rank_cut(len(differences), alpha)
    return Estimate(estimate, float(averages[cut - 1]), float(averages[-cut]), 1 - 2 * tail)


@functools.lru_cache(maxsize=256)
def _rank_cut(pairs: int, alpha: float) -> tuple[int, float]:
    """The rank from either end of the Walsh averages that bounds the interval, and the chance beyond one end."""
    total = 2**pairs
    cut, tail = 1, 1  # the cut-th average from either end; sign patterns with W < cut
    for count in signed_rank_counts(pairs)[1:]:
        if 2 * (tail + count) > alpha * total:
            break
        cut, tail = cut + 1, tail + count
    return cut, tail / total


def ratio(dense: Sequence[float], efficient: Sequence[float]) -> Estimate:
    """How many times faster `efficient` is, from paired latencies: dense / efficient, estimated on logarithms."""
    logs = [math.log(a / b) for a, b in zip(dense, efficient, strict=True)]
    estimate = hodges_lehmann(logs)
    low, high = (None if bound is None else math.exp(bound) for bound in (estimate.low, estimate.high))
    return Estimate(math.exp(estimate.value), low, high, estimate.confidence)
