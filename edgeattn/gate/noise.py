"""Where the noise of paired differences comes from, in words for someone who wants less of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgeattn.gate.rule import standard_deviation

WITHIN = "the speed changes while a process runs: another load, clocks or heat"
BETWEEN = "fresh processes of the same engine differ: placement of memory and threads, or clocks"


def largest_source(differences: Sequence[float], within: Sequence[float]) -> str | None:
    """The larger part of the variance of the differences; None where there are too few to tell.

    within: of each pair, the variance that comes from changes inside its processes.
    """
    spread = standard_deviation(differences)
    if spread is None or not within:
        return None
    # Not the mean, for which one process with an outlier would speak. `within` is the sum of two squares of normal
    # values: chi-squared with two degrees of freedom, whose median is ln 2 of its mean.
    inside = float(np.median(within)) / math.log(2)
    return f"{WITHIN if 2 * inside > spread**2 else BETWEEN} (pairs spread by {spread:.1%})"
