"""Length buckets at run time: inputs are padded to the next length that has a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeattn.runtimes.base import Arrays, Session


def bucketed_axes(any_length: Mapping[str, Sequence[Any]], fixed: Mapping[str, Sequence[Any]]) -> dict[str, int]:
    """tensor name -> its dimension that has a size in the graph of a bucket, and none in the graph for any length.

    The shapes of both graphs' inputs and outputs; a dimension is a size, or a name or None for any size.
    """
    found = {}
    for name, shape in any_length.items():
        pairs = zip(shape, fixed.get(name, ()), strict=False)
        dims = [dim for dim, (one, other) in enumerate(pairs) if isinstance(other, int) and not isinstance(one, int)]
        if dims:
            found[name] = dims[0]
    return found


class BucketedSession:
    """Sessions of one model at fixed lengths, and one for any length, which runs longer inputs.

    axes: tensor name -> its dimension that is padded, of `bucketed_axes`.
    Inputs are padded with zeros, masks too, so that padding does not count as content.
    """

    def __init__(self, any_length: Session, fixed: Mapping[int, Session], axes: Mapping[str, int]) -> None:
        self._any_length = any_length
        self._fixed = dict(sorted(fixed.items()))
        self._axes = axes

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name for inputs by name, at the length of the inputs."""
        length = max(array.shape[self._axes[name]] for name, array in feeds.items() if name in self._axes)
        bucket = next((size for size in self._fixed if size >= length), None)
        if bucket is None:
            return self._any_length.run(feeds)
        padded = {name: self._padded(name, array, bucket - length) for name, array in feeds.items()}
        outputs = self._fixed[bucket].run(padded)
        return {name: self._cut(name, array, length) for name, array in outputs.items()}

    def describe(self) -> dict[str, Any]:
        """The facts of the session for any length, with the lengths of the buckets."""
        return {**self._any_length.describe(), "buckets": list(self._fixed)}

    def _padded(self, name: str, array: Any, more: int) -> Any:
        if name not in self._axes or not more:
            return array
        widths = [(0, more if axis == self._axes[name] else 0) for axis in range(array.ndim)]
        return np.pad(array, widths)

    def _cut(self, name: str, array: Any, length: int) -> Any:
        return np.take(array, range(length), axis=self._axes[name]) if name in self._axes else array
