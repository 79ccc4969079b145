"""Accuracy against latency: a mark per candidate, the shipped ones filled and named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeattn.report.pictures import scale, svg
from edgeattn.report.pictures.data import Mark

_HEIGHT = 280


def draw(marks: Sequence[Mark], *, latency: str, measure: str, floor: float | None, logarithmic: bool) -> Any:
    """latency, measure: labels of the axes. floor: a line below which nothing ships. logarithmic: the upright axis."""
    made = svg.figure(_HEIGHT)
    axes = svg.axes(made, left=62, right=16, top=26, bottom=50, height=_HEIGHT)
    axes.set_xscale("log")
    if logarithmic:
        axes.set_yscale("log")
    for mark in sorted(marks, key=lambda each: each.shipped):
        colour = svg.colour(mark.place)
        axes.plot(
            [mark.latency_ms], [mark.value], marker=svg.MARKERS[mark.place % 6], linestyle="none",
            markersize=11 if mark.shipped else 6, markerfacecolor=colour if mark.shipped else "none",
            markeredgecolor=svg.INK if mark.shipped else colour, markeredgewidth=1.4,
        )  # fmt: skip
    values, latencies = [mark.value for mark in marks], [mark.latency_ms for mark in marks]
    axes.set_xlim(min(latencies) / 1.2, max(latencies) * 1.2)
    scale.logarithmic(axes.xaxis, latencies)
    if logarithmic:
        axes.set_ylim(min(values) / 2, max(values) * 2)
        scale.decades(axes.yaxis)
    else:
        if floor is not None:
            axes.axhline(floor, color=svg.INK, linewidth=1, linestyle=(0, (2, 2)))
            axes.annotate("floor", (1, floor), xycoords=("axes fraction", "data"), xytext=(0, 3),
                          textcoords="offset points", ha="right", fontsize=12)  # fmt: skip
            values.append(floor)
        room = 0.15 * ((max(values) - min(values)) or abs(max(values)) or 1)
        axes.set_ylim(min(values) - room, max(values) + room)
        scale.linear(axes.yaxis)
    middle = (min(latencies) * max(latencies)) ** 0.5
    for mark in marks:
        if mark.shipped:
            right, below = mark.latency_ms > middle, mark.place % 2  # the two sides often ship at nearly one place
            axes.annotate(
                svg.label(mark.name, 40), (mark.latency_ms, mark.value),
                xytext=(-4 if right else 4, -20 if below else 11), textcoords="offset points",
                ha="right" if right else "left", fontsize=12,
            )  # fmt: skip
    axes.grid()
    axes.set_title(svg.label(measure, 64), loc="left", color=svg.DIM)
    axes.set_xlabel(svg.label(latency, 60))
    return made
