"""A figure against length: a line per engine, with the range over processes, and where the lines cross.

Below it, the ratios to the reference with their intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgeattn.report.pictures import scale, svg
from edgeattn.report.pictures.data import Line
from edgeattn.report.text import about, number

_HEIGHT, _RATIOS = 280, 130


def draw(
    lines: Sequence[Line],
    ratios: Sequence[Line] = (),
    *,
    unit: str,
    measure: str,
    ratio: str = "",
    crossover: float | None = None,
) -> Any:
    """unit: of the lengths. measure, ratio: labels of the two axes. crossover: the length to mark."""
    height = (_HEIGHT if lines else 0) + (_RATIOS + 20 if ratios else 0)
    height += 0 if lines else 60
    made = svg.figure(height)
    both = bool(lines and ratios)
    found = [point.length for line in (*lines, *ratios) for point in line.points]
    if lines:
        above = svg.axes(made, left=60, right=44, top=26, bottom=_RATIOS + 38 if both else 46, height=height)
        _plot(above, lines, found)
        scale.logarithmic(above.yaxis, [point.value for line in lines for point in line.points])
        _ends(above, lines)
        above.set_title(measure, loc="left", color=svg.DIM)
        _mark(above, crossover, unit)
        if both:
            above.tick_params(labelbottom=False)
    if ratios:
        below = svg.axes(made, left=60, right=44, top=height - _RATIOS if both else 26, bottom=50, height=height)
        _plot(below, ratios, found)
        values = [bound for line in ratios for point in line.points for bound in (point.value, point.low, point.high)]
        scale.ratios(below.yaxis, [value for value in values if value])
        below.axhline(1, color=svg.INK, linewidth=1)
        below.set_title(ratio, loc="left", color=svg.DIM)
        _mark(below, crossover, "" if both else unit)
    last = below if ratios else above
    last.set_xlabel(svg.label(unit))
    return made


def _plot(axes: Any, lines: Sequence[Line], found: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for line in lines:
        colour = svg.colour(line.place)
        style = {"color": colour, "marker": svg.MARKERS[line.place % 6], "linestyle": svg.DASHES[line.place % 6]}
        points = sorted(line.points, key=lambda point: point.length)
        lengths = [point.length for point in points]
        below = [point.value - min(point.value, point.low or point.value) for point in points]
        above = [max(point.value, point.high or point.value) - point.value for point in points]
        axes.errorbar(
            lengths, [point.value for point in points], yerr=[below, above], capsize=3, elinewidth=1.4, **style
        )
    axes.set_xlim(min(found) / 1.15, max(found) * 1.15)
    scale.lengths(axes.xaxis, found)
    axes.grid(axis="y")


def _ends(axes: Any, lines: Sequence[Line]) -> None:
    """The figures at the longest length, where they have room."""
    ends = sorted((max(line.points, key=lambda point: point.length) for line in lines), key=lambda point: point.value)
    low, high = axes.get_ylim()
    last = low
    for end in ends:
        if math.log(end.value / last) > 0.06 * math.log(high / low):
            axes.annotate(
                number(end.value), (end.length, end.value), xytext=(9, 0), textcoords="offset points", va="center"
            )
            last = end.value


def _mark(axes: Any, crossover: float | None, unit: str) -> None:
    if crossover is None:
        return
    axes.axvline(crossover, color=svg.INK, linewidth=1, linestyle=(0, (2, 2)))
    if unit:
        left, right = axes.get_xlim()
        late = (crossover / left) > (right / crossover)
        axes.annotate(
            svg.label(f"equal at about {about(crossover)} {unit}", 40),
            (crossover, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if late else 5, -4),
            textcoords="offset points",
            ha="right" if late else "left",
            va="top",
            fontsize=12,
        )
