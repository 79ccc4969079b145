"""Length buckets at run time: inputs are padded to the next length that has a graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgeattn.runtimes.base import Arrays, Memory, Session


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


def fitting(feeds: Arrays, lengths: Iterable[int], axes: Mapping[str, int]) -> int | None:
    """The shortest bucket that the inputs fit into; None where they are longer than all."""
    length = _length(feeds, axes)
    return min((size for size in lengths if size >= length), default=None)


def padded(feeds: Arrays, size: int, axes: Mapping[str, int]) -> Arrays:
    """The inputs with zeros up to the length `size`, in masks too, so that padding does not count as content."""
    more = size - _length(feeds, axes)
    return {name: _padded(array, axes.get(name), more) for name, array in feeds.items()}


def _length(feeds: Arrays, axes: Mapping[str, int]) -> int:
    return max(int(array.shape[axes[name]]) for name, array in feeds.items() if name in axes)


def _padded(array: Any, axis: int | None, more: int) -> Any:
    if axis is None or not more:
        return array
    return np.pad(array, [(0, more if place == axis else 0) for place in range(array.ndim)])


class BucketedSession:
    """Sessions of one model at fixed lengths, and one for any length, which runs longer inputs.

    axes: tensor name -> its dimension that is padded, of `bucketed_axes`.
    """

    def __init__(self, any_length: Session, fixed: Mapping[int, Session], axes: Mapping[str, int]) -> None:
        self._any_length = any_length
        self._fixed = dict(sorted(fixed.items()))
        self._axes = axes

    def run(self, feeds: Arrays) -> Arrays:
        """Outputs by name for inputs by name, at the length of the inputs."""
        bucket = fitting(feeds, self._fixed, self._axes)
        if bucket is None:
            return self._any_length.run(feeds)
        length = _length(feeds, self._axes)
        outputs = self._fixed[bucket].run(padded(feeds, bucket, self._axes))
        return {name: self._cut(name, array, length) for name, array in outputs.items()}

    def memory(self, feeds: Arrays) -> Memory:
        """Of the session that runs inputs of this length; the others keep theirs beside it."""
        bucket = fitting(feeds, self._fixed, self._axes)
        if bucket is None:
            return self._any_length.memory(feeds)
        return self._fixed[bucket].memory(padded(feeds, bucket, self._axes))

    def describe(self) -> dict[str, Any]:
        """The facts of the session for any length, with the lengths of the buckets."""
        return {**self._any_length.describe(), "buckets": list(self._fixed)}

    def _cut(self, name: str, array: Any, length: int) -> Any:
        return np.take(array, range(length), axis=self._axes[name]) if name in self._axes else array
