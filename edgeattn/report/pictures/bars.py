"""Bars side by side, with their figures: for memory, size and energy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeattn.report.pictures import svg
from edgeattn.report.pictures.data import Bar

_BAR, _GAP = 23, 28


def draw(groups: Sequence[tuple[str, Sequence[Bar]]]) -> Any:
    """groups: (title, bars). Each group has a scale of its own, from 0."""
    height = sum(_GAP + _BAR * len(bars) for _, bars in groups) + 8
    made = svg.figure(height)
    axes = svg.axes(made, left=8, right=8, top=0, bottom=0, height=height)
    axes.set_xlim(0, 1)
    axes.set_ylim(height, 0)
    axes.axis("off")
    y = 0.0
    for title, bars in groups:
        axes.text(0, y + _GAP - 7, svg.label(title, 56), color=svg.DIM)
        y += _GAP
        longest = max((bar.value for bar in bars), default=0) or 1
        for bar in bars:
            width = 0.66 * bar.value / longest
            middle = y + _BAR / 2
            axes.barh(middle, width, height=_BAR - 5, color=svg.colour(bar.place), edgecolor=svg.PAGE, linewidth=0)
            if bar.part is not None:
                axes.barh(middle, 0.66 * bar.part / longest, height=_BAR - 5, color="none", edgecolor=svg.PAGE,
                          hatch="////", linewidth=0)  # fmt: skip
            axes.text(width + 0.015, middle, svg.label(bar.said, 24), va="center")
            y += _BAR
    return made
