"""Padding along named axes: where it ends, how it is cut off, and how arrays of unequal size are stacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeattn.interface import Axis

Array = NDArray[np.generic]
Dims = Sequence[int | str | None]  # of an array: sizes, names of axes, or None for a size that does not matter here
A = TypeVar("A", bound=Any)  # an array of numpy or torch


def trim(arrays: Mapping[str, Array], dims: Mapping[str, Dims], axes: Mapping[str, Axis]) -> dict[str, Array]:
    """`arrays` without what is padding in every row, at the end of each axis that has a mask among them.

    dims: of the arrays; one without dims stays as it is.
    """
    found = dict(arrays)
    for name, axis in axes.items():
        if axis.mask is None or axis.mask not in found:
            continue
        content = np.flatnonzero(found[axis.mask].any(axis=0))
        if len(content):
            found = cut(found, dims, name, int(content[-1]) + 1)
    return found


def cut(arrays: Mapping[str, A], dims: Mapping[str, Dims], axis: str, size: int) -> dict[str, A]:
    """`arrays`, of numpy or torch, with at most `size` entries along an axis."""
    found = {}
    for name, array in arrays.items():
        place = (*(slice(size if dim == axis else None) for dim in dims.get(name, ())),)
        found[name] = array[place]
    return found


def lengths(arrays: Mapping[str, Array], axes: Mapping[str, Axis]) -> Array | None:
    """[S]: how much of each row is no padding, over all axes with a mask; None where there is no such axis."""
    masks = [arrays[axis.mask] for axis in axes.values() if axis.mask is not None]
    return np.sum([(mask != 0).sum(axis=1) for mask in masks], axis=0) if masks else None


def stack(parts: Sequence[Array]) -> Array:
    """Batches [B, ...] one after the other, padded with zeros at the end of each axis to the largest of them."""
    sizes = np.max([part.shape[1:] for part in parts], axis=0).astype(int)
    if all(part.shape[1:] == tuple(sizes) for part in parts):
        return np.concatenate(parts)
    out = np.zeros((sum(map(len, parts)), *sizes), np.result_type(*parts))
    start = 0
    for part in parts:
        place = (slice(start, start + len(part)), *(slice(size) for size in part.shape[1:]))
        out[place] = part
        start += len(part)
    return out
