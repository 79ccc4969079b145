"""The shapes that an engine of a bundle is built for: those that are timed, and those of its samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from edgeattn.bundle import Bundle
from edgeattn.interface import BATCH
from edgeattn.runtimes.base import ShapeRange, ShapeRanges

Dims = tuple[int | str, ...]


def shape_ranges(bundle: Bundle) -> ShapeRanges:
    """One range per timed length, from 1 up to that length; the last one goes up to the longest sample of the bundle.

    Each is for batches of 1 up to the timed one. Its usual shape is the largest timed one. A bundle whose inputs have
    one size along every axis has one range. Raises BundleError where the samples cannot be read.
    """
    manifest = bundle.manifest
    inputs = {spec.name: spec.dims for spec in manifest.inputs}
    longest = _longest(bundle, inputs)
    axis, lengths = manifest.length_axis, sorted(manifest.bench.lengths or ())
    timed = [{**longest, axis: length} for length in lengths] if axis and lengths else [longest]
    ranges = []
    for place, usual in enumerate(timed):
        last = place == len(timed) - 1
        most = {name: max(size, longest[name]) for name, size in usual.items()} if last else usual
        ranges.append(
            {
                name: ShapeRange(
                    _shape(dims, 1, dict.fromkeys(longest, 1)),
                    _shape(dims, manifest.bench.batch_size, usual),
                    _shape(dims, manifest.bench.batch_size, most),
                )
                for name, dims in inputs.items()
            }
        )
    return ranges


def _shape(dims: Dims, batch: int, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(dim if isinstance(dim, int) else batch if dim == BATCH else sizes[dim] for dim in dims)


def _longest(bundle: Bundle, inputs: Mapping[str, Dims]) -> dict[str, int]:
    """axis -> the most that a sample of the bundle has along it."""
    found: dict[str, int] = {}
    parts: tuple[Literal["samples", "eval"], ...] = ("samples", "eval")
    for part in parts:
        arrays = bundle.arrays(part)
        for name, dims in inputs.items():
            for dim, size in zip(dims[1:], arrays[f"input.{name}"].shape[1:], strict=True):
                if isinstance(dim, str):
                    found[dim] = max(found.get(dim, 1), size)
    return found
