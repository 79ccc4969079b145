"""Which of an engine's optimization profiles an input fits."""

from __future__ import annotations

from collections.abc import Mapping

from edgeattn.errors import InputError
from edgeattn.runtimes.base import ShapeRange, ShapeRanges

Shapes = Mapping[str, tuple[int, ...]]  # input -> its shape


def profile_of(shapes: Shapes, ranges: ShapeRanges) -> int:
    """The place of the first range that all inputs fit. Raises InputError where there is none."""
    for place, each in enumerate(ranges):
        if all(fits(shape, each[name]) for name, shape in shapes.items()):
            return place
    given = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    built = "; ".join(
        ", ".join(f"{name} {list(found.least)} to {list(found.most)}" for name, found in each.items())
        for each in ranges
    )
    raise InputError(
        f"the input {given} fits none of the shapes that the engine was built for: {built}",
        fix="use a smaller input, or compile again with a bench.lengths or bench.batch_size that includes it",
    )


def fits(shape: tuple[int, ...], within: ShapeRange) -> bool:
    """Whether a shape lies in a range."""
    same_rank = len(shape) == len(within.most)
    return same_rank and all(
        low <= size <= high for low, size, high in zip(within.least, shape, within.most, strict=True)
    )
