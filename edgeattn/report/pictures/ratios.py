"""Ratios to the reference in each pair of processes, with the estimate and its interval: for inputs of one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeattn.report.pictures import scale, svg
from edgeattn.report.pictures.data import Row

_ROW = 64


def draw(rows: Sequence[Row], *, reference: str) -> Any:
    height = 74 + _ROW * len(rows)
    made = svg.figure(height)
    axes = svg.axes(made, left=16, right=16, top=26, bottom=50, height=height)
    for number, row in enumerate(reversed(rows)):
        colour = svg.colour(row.place)
        steps = [0.16 * ((place % 5) - 2) / 2 for place in range(len(row.pairs))]  # so that equal ones are seen
        at = [number - 0.12 + step for step in steps]
        axes.plot(
            row.pairs, at, linestyle="none", marker=svg.MARKERS[row.place % 6], markerfacecolor="none",
            markeredgecolor=colour, markersize=5,
        )  # fmt: skip
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [number + 0.18] * 2, color=colour, linewidth=5, solid_capstyle="butt")
        axes.plot([row.value], [number + 0.18], marker="|", markersize=15, markeredgewidth=3, color=svg.INK)
        axes.annotate(svg.label(row.name, 44), (0, number + 0.36), xycoords=("axes fraction", "data"), va="bottom")
    every = [1.0, *(each for row in rows for each in (row.value, *row.pairs)),
             *(bound for row in rows for bound in (row.low, row.high) if bound)]  # fmt: skip
    axes.axvline(1, color=svg.INK, linewidth=1, linestyle=(0, (2, 2)))
    axes.set_xscale("log")
    axes.set_xlim(min(every) / 1.08, max(every) * 1.08)
    axes.set_ylim(-0.5, len(rows) - 0.2)
    scale.ratios(axes.xaxis, every)
    scale.none(axes.yaxis)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_title(svg.label(f"1 = as fast as {reference}", 60), loc="left", color=svg.DIM)
    axes.set_xlabel("x faster (to the right is better)")
    return made
