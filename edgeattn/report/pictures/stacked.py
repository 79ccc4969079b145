"""Where time goes: a bar per engine, cut by kind of work, all on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeattn.report.pictures import scale, svg

_ROW, _KEY = 58, 20


def draw(rows: Sequence[tuple[str, Mapping[str, float]]], *, kinds: Sequence[str], measure: str) -> Any:
    """rows: (engine, kind -> ms). kinds: in the order of the palette, at most six."""
    lines = -(-len(kinds) // 2)
    height = 46 + _KEY * lines + 10 + _ROW * len(rows)
    made = svg.figure(height)
    axes = svg.axes(made, left=8, right=16, top=_KEY * lines + 8, bottom=50, height=height)
    longest = max(sum(parts.values()) for _, parts in rows)
    for number, (name, parts) in enumerate(rows):
        start = 0.0
        for place, kind in enumerate(kinds):
            width = parts.get(kind, 0.0)
            axes.barh(
                number, width, left=start, height=0.5, color=svg.colour(place), hatch=svg.HATCHES[place],
                edgecolor=svg.PAGE, linewidth=1,
            )  # fmt: skip
            start += width
        axes.text(0, number - 0.3, svg.label(f"{name}: {start:.3g} ms", 44), va="bottom")
    axes.set_xlim(0, 1.02 * longest)
    axes.set_ylim(len(rows) - 0.6, -0.75)
    scale.none(axes.yaxis)
    scale.linear(axes.xaxis)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(measure)
    _key(made, kinds, height)
    return made


def _key(made: Any, kinds: Sequence[str], height: float) -> None:
    for place, kind in enumerate(kinds):
        x, y = 8 + (place % 2) * 204, 6 + (place // 2) * _KEY
        box = made.add_axes((x / svg.WIDTH, 1 - (y + 13) / height, 18 / svg.WIDTH, 13 / height))
        box.axis("off")
        box.barh(0, 1, height=1, color=svg.colour(place), hatch=svg.HATCHES[place], edgecolor=svg.PAGE, linewidth=0)
        box.set_xlim(0, 1)
        box.set_ylim(-0.5, 0.5)
        made.text((x + 24) / svg.WIDTH, 1 - (y + 11) / height, svg.label(kind, 26), va="baseline")
