"""Which layers of a quantized graph are left in float, so that its outputs stay near those of the fp32 graph."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping


def leave_in_float(
    cosine_without: Callable[[Collection[str]], float], errors: Mapping[str, float], least: float
) -> tuple[list[str], float]:
    """The fewest layers to leave in float, the worst first, for a cosine of at least `least`; and the cosine then.

    cosine_without: the cosine to the fp32 graph with these layers in float and all others quantized.
    errors: of the output when only that layer is quantized: beside several bad layers, the effect of putting back one
    of them is lost.
    """
    cosine = cosine_without(())
    if cosine >= least:
        return [], cosine
    worst_first = sorted(errors, key=errors.__getitem__, reverse=True)
    counts = range(1, len(worst_first))
    count = 1 + bisect_left(counts, least, key=lambda count: cosine_without(worst_first[:count]))
    return worst_first[:count], cosine_without(worst_first[:count])
