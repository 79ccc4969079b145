"""The loss of each phase of training against its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeattn.report.pictures import scale, svg

_HEIGHT = 200


def draw(phases: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> Any:
    """phases: (name, (step, loss)). Each has a scale of its own: their losses measure different things."""
    made = svg.figure(_HEIGHT)
    room = svg.WIDTH / len(phases)
    for place, (name, points) in enumerate(phases):
        axes = svg.axes(
            made, left=48 + room * place, right=svg.WIDTH - room * (place + 1) + 20, top=26, bottom=50, height=_HEIGHT
        )
        axes.plot([step for step, _ in points], [loss for _, loss in points], color=svg.colour(1))
        axes.set_ylim(0, 1.1 * max(loss for _, loss in points) or 1)
        axes.set_xlim(0, max(step for step, _ in points))
        scale.linear(axes.xaxis, 2 if len(phases) > 1 else 5)
        scale.linear(axes.yaxis, 4)
        axes.grid(axis="y")
        axes.set_title(svg.label(f"{name}: loss", 30), loc="left", color=svg.DIM)
        axes.set_xlabel("step")
    return made
