"""A figure per layer or product of the model, in its order: what quantizing costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeattn.report.pictures import scale, svg
from edgeattn.report.pictures.data import Dot

_HEIGHT = 230


def draw(series: Sequence[tuple[int, Sequence[Dot]]], *, measure: str, order: str) -> Any:
    """series: (place in the palette, its dots in the order of the model). measure, order: labels of the axes."""
    made = svg.figure(_HEIGHT)
    axes = svg.axes(made, left=56, right=12, top=26, bottom=50, height=_HEIGHT)
    axes.set_yscale("log")
    for place, dots in series:
        colour = svg.colour(place)
        for kept in (False, True):
            at = [number for number, dot in enumerate(dots) if dot.kept is kept]
            axes.plot(
                at, [dots[number].value for number in at], linestyle="none", marker=svg.MARKERS[place % 6],
                markersize=5, markerfacecolor="none" if kept else colour, markeredgecolor=colour,
            )  # fmt: skip
    scale.decades(axes.yaxis)
    scale.linear(axes.xaxis)
    axes.grid(axis="y")
    axes.set_title(measure, loc="left", color=svg.DIM)
    axes.set_xlabel(order)
    return made
