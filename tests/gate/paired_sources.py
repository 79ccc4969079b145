"""Sources of pairs for the gate's decision that measure nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeattn.gate.sequential import Key, Pair

P50, ENERGY = Key(128, "p50"), Key(128, "energy")


class Given:
    """Gives the differences that it holds, one after the other; a text in a list is why that pair is discarded."""

    def __init__(self, differences: Mapping[Key, Sequence[float | str]]) -> None:
        self.differences = differences
        self.taken = 0
        self.wanted: list[frozenset[Key]] = []

    def pair(self, wanted: frozenset[Key]) -> Pair:
        self.wanted.append(wanted)
        row = {key: values[self.taken] for key, values in self.differences.items() if self.taken < len(values)}
        self.taken += 1
        reasons = [value for value in row.values() if isinstance(value, str)]
        numbers = {key: value for key, value in row.items() if isinstance(value, float)}
        return Pair(numbers, reasons[0] if reasons else None)


def around(center: float, spread: float, count: int = 40) -> list[float]:
    """Differences around `center` that are symmetric, in an order that has no trend."""
    half = [spread * (1 + place % 5) / 5 for place in range(count // 2)]
    return [center + sign * each for each in half for sign in (1, -1)]
