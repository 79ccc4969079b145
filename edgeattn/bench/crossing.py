"""The length from which one form of a model is faster than another: a shipped engine, or a variant of attention."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Crossing:
    """Where a form starts to be faster than the reference, which is dense.

    pays_from: the smallest measured length at which, and at all longer ones, it is faster; None if it is not faster at
    the longest. estimate: the length at which the ratio passes 1 on the way there; None if it does not.
    """

    pays_from: int | None
    estimate: float | None


def crossing(speedups: Mapping[int, Mapping[str, Any]]) -> Crossing:
    """speedups: length -> {ratio, low, high} of reference / form.

    A form is faster when its whole interval is above 1, so that noise does not count; without an interval, when its
    ratio is.
    The estimate interpolates log ratio over log N between the last measured length whose ratio is not above 1 and the
    one after it.
    """
    lengths = sorted(speedups)
    pays_from = None
    for length in reversed(lengths):
        found = speedups[length]
        if (found["ratio"] if found["low"] is None else found["low"]) <= 1:
            break
        pays_from = length
    ratios = {length: speedups[length]["ratio"] for length in lengths}
    estimate = None
    for before, after in pairwise(lengths):
        if ratios[before] <= 1 < ratios[after]:
            low, high = math.log(ratios[before]), math.log(ratios[after])
            estimate = before * (after / before) ** (-low / (high - low))
    # A last ratio that is not above 1 means that the ratio fell below 1 again.
    return Crossing(pays_from, estimate if lengths and ratios[lengths[-1]] > 1 else None)
