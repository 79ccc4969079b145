"""Accuracy of candidate and baseline on the same held-out samples, with a paired bootstrap.

Both are scored on the baseline's samples and against the baseline's floor: a change cannot lower its own bar.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeattn.bench.accuracy import floor_of, holds, shown
from edgeattn.gate.rule import Verdict
from edgeattn.metrics import PAIRS, Array, Arrays, Metric

RESAMPLES = 1000
ALPHA = 0.05  # of each one-sided bound


@dataclass(frozen=True)
class Scored:
    """The verdict on one metric.

    candidate, baseline, teacher, floor: values; None where a metric has none. low: the bound of candidate - floor,
    positive is better, whichever way the metric points. worse: the same of candidate - baseline.
    """

    verdict: Verdict
    candidate: float | None
    baseline: float | None
    teacher: float | None
    floor: float | None
    low: float | None
    worse: float | None
    why: str | None = None


def judge(
    metric: Metric, share: float, kept: Mapping[str, Arrays], arrays: Arrays, *, ignore: float, seed: int = 0
) -> Scored:
    """Whether the candidate keeps the floor, `share` of the teacher's value.

    kept: "candidate" and "baseline" -> what `edgeattn.metrics.keep` kept of their outputs on the samples of `arrays`.
    FAIL: the value is below the floor, or not finite. PASS: above it the bootstrap's lower bound is too, or that of the
    loss against the baseline is less than `ignore` of the teacher's value. Else INCONCLUSIVE.
    """
    outputs = {side: kept[side][metric.kept.name] for side in ("candidate", "baseline")}
    outputs["teacher"] = arrays[metric.kept.reference]
    needs = [arrays[name] for name in metric.needs]
    values = {side: _finite(metric, output, needs) for side, output in outputs.items()}
    teacher, candidate = values["teacher"], values["candidate"]
    floor = floor_of(teacher, share, metric.higher_is_better)

    def scored(verdict: Verdict, low: float | None, worse: float | None, why: str | None = None) -> Scored:
        return Scored(verdict, candidate, values["baseline"], teacher, floor, low, worse, why)

    if teacher is None or floor is None or not holds(candidate, floor, metric.higher_is_better):
        why = f"{metric.name} is {shown(candidate)}, its floor is {shown(floor)}"
        return scored(Verdict.FAIL, None, None, why)
    drawn = _resampled(metric, outputs, needs, np.random.default_rng(seed))
    sign = 1 if metric.higher_is_better else -1
    floors = np.array([floor_of(value, share, metric.higher_is_better) for value in drawn["teacher"]])
    low = _bound(sign * (drawn["candidate"] - floors))
    worse = _bound(sign * (drawn["candidate"] - drawn["baseline"]))
    if low is not None and low >= 0:
        return scored(Verdict.PASS, low, worse)
    if worse is not None and worse >= -ignore * abs(teacher):
        return scored(Verdict.PASS, low, worse)
    why = f"{len(drawn['rows'])} held-out samples are too few to tell it from its floor {shown(floor)}"
    return scored(Verdict.INCONCLUSIVE, low, worse, why)


def _resampled(
    metric: Metric, outputs: Mapping[str, Array], needs: list[Array], rng: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Values on RESAMPLES bootstrap samples, the same rows for all: side -> [RESAMPLES], and the last "rows" [S].

    The rows are the held-out samples, or the pairs of them that a metric scores.
    """
    of_pairs = PAIRS in metric.needs
    count = len(needs[metric.needs.index(PAIRS)]) if of_pairs else len(outputs["teacher"])
    drawn: dict[str, list[float]] = {side: [] for side in outputs}
    rows = np.arange(count)
    for _ in range(RESAMPLES):
        rows = rng.integers(0, count, size=count)
        some = [each[rows] for each in needs]
        for side, output in outputs.items():
            drawn[side].append(metric.function(output if of_pairs else output[rows], *some))
    return {**{side: np.array(values) for side, values in drawn.items()}, "rows": rows}


def _finite(metric: Metric, output: Array, needs: list[Array]) -> float | None:
    if not np.isfinite(output).all():
        return None
    value = metric.function(output, *needs)
    return value if math.isfinite(value) else None


def _bound(values: NDArray[np.float64]) -> float | None:
    """The one-sided lower bound; resamples on which a metric has no value are left out."""
    known = values[np.isfinite(values)]
    return float(np.quantile(known, ALPHA)) if len(known) else None
