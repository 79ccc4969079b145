"""From which length on a variant is faster than dense."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Crossing:
    """pays_from: the smallest measured length from which on the variant is faster, at all longer ones too; None where
    it is not faster up to the longest one. estimate: where the ratio passes 1 on the way there, None if it does not.
    """

    pays_from: int | None
    estimate: float | None


def crossing(speedups: Mapping[int, Mapping[str, Any]]) -> Crossing:
    """speedups: length -> {ratio, low, high} of dense / variant.

    Faster is what the whole interval says, so noise alone makes nothing pay; without an interval, the ratio says it.
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
    # A last ratio that is not above 1 means that what was passed was passed back again.
    return Crossing(pays_from, estimate if lengths and ratios[lengths[-1]] > 1 else None)
