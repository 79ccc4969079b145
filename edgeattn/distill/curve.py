"""The loss of a phase in a few points, small enough to travel with a bundle."""

from __future__ import annotations

from collections.abc import Sequence

POINTS = 60  # at most


class Curve:
    """Means of the loss over equal runs of steps.

    steps: of the whole phase. state: of a curve that was cut off, from `state`; it goes on there.
    """

    def __init__(self, steps: int, state: Sequence[Sequence[float]] = ()) -> None:
        self._run = -(-max(1, steps) // POINTS)
        self._steps = steps
        self._sums = [list(each) for each in state]  # of each run: losses summed, and how many

    def add(self, step: int, loss: float) -> None:
        """step: from 1."""
        place = (step - 1) // self._run
        while len(self._sums) <= place:
            self._sums.append([0.0, 0])
        self._sums[place][0] += loss
        self._sums[place][1] += 1

    @property
    def state(self) -> list[list[float]]:
        """As JSON, for a checkpoint."""
        return [list(each) for each in self._sums]

    @property
    def points(self) -> list[list[float]]:
        """[step, mean loss of the run that ends there], as JSON."""
        return [
            [min(self._steps, (place + 1) * self._run), round(total / count, 6)]
            for place, (total, count) in enumerate(self._sums)
            if count
        ]
