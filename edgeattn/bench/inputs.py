"""Inputs of the timed engines: real samples from eval.npz at the requested length, different for each call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeattn import padding
from edgeattn.errors import BundleError, InputError
from edgeattn.interface import Interface, TensorSpec
from edgeattn.jsonfile import COPY_AGAIN

Array = NDArray[np.generic]
Arrays = dict[str, Array]
LARGEST = 2**22  # batch size times length of one inference; more would only fill memory
LARGEST_BYTES = 2**30  # of all inputs of a length, which the process of an engine holds


def sample_arrays(inputs: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> Arrays:
    """The arrays "input.<name>" of a samples.npz or eval.npz in the dtypes of the graph: name -> [S, ...].

    Raises BundleError when an array is missing, empty, or of another type or shape, or when they differ in number.
    """
    missing = [spec.name for spec in inputs if f"input.{spec.name}" not in arrays]
    if missing:
        raise BundleError(f"the bundle's samples lack the graph's input {missing[0]!r}", fix=COPY_AGAIN)
    found: Arrays = {}
    sizes: dict[str, int] = {}  # of the named dimensions
    for spec in inputs:
        array = arrays[f"input.{spec.name}"]
        shaped = array.ndim == len(spec.dims)
        for dim, size in zip(spec.dims[1:], array.shape[1:], strict=False):  # the first is the batch
            shaped &= size > 0 and size == (dim if isinstance(dim, int) else sizes.setdefault(dim, size))
        if array.dtype.kind not in "biuf" or not shaped:
            raise BundleError(
                f"the bundle's samples of {spec.name!r} are {array.dtype} of shape {list(array.shape)}, "
                f"which do not fit {spec.dtype} {list(spec.dims)}",
                fix=COPY_AGAIN,
            )
        found[spec.name] = array.astype(spec.dtype, copy=False)
    counts = {name: len(array) for name, array in found.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise BundleError(f"the bundle's samples are empty or differ in number: {counts}", fix=COPY_AGAIN)
    return found


def one_by_one(interface: Interface, arrays: Mapping[str, Array], batch_size: int = 1) -> Iterator[Arrays]:
    """The samples in order, `batch_size` at a time, without the padding that a whole batch shares.

    interface: of the graphs, such as the bundle's manifest. The shipped engine will run without padding; eval.npz pads
    to its largest sample.
    """
    samples = sample_arrays(interface.inputs, arrays)
    first = interface.inputs[0]
    step = first.dims[0] if isinstance(first.dims[0], int) else batch_size
    for start in range(0, len(samples[first.name]), step):
        batch = {name: array[start : start + step] for name, array in samples.items()}
        yield padding.trim(batch, interface.dims, interface.axes)


def bench_feeds(
    interface: Interface,
    arrays: Mapping[str, Array],
    *,
    length: int | None,
    batch_size: int,
    count: int,
) -> list[Arrays]:
    """`count` different feeds, which the timing rotates through.

    With a length axis, the content of successive samples is joined to exactly `length` along it, with nothing masked;
    None: the samples' own length. Other models get the samples themselves, and `length` is None.
    """
    axis = interface.length_axis
    if length is not None and axis is None:
        raise InputError(
            f"length {length} was asked for, but the inputs of the model have one size", fix="leave --lengths out"
        )
    if batch_size * (length or 1) > LARGEST:
        raise InputError(
            f"batch size {batch_size} at length {length or 1} is more than {LARGEST} "
            f"{interface.length_unit or 'samples'} at once",
            fix="use a smaller batch size or length",
        )
    samples = sample_arrays(interface.inputs, arrays)
    total = len(samples[interface.inputs[0].name])
    if axis is None:
        _require_room({name: array[:1] for name, array in samples.items()}, batch_size, count)
        take = (np.arange(count * batch_size) % total).reshape(count, batch_size)
        return [{name: array[rows] for name, array in samples.items()} for rows in take]
    along = {spec.name: spec.dims.index(axis) for spec in interface.inputs if axis in spec.dims}
    if length is None:
        length = max(samples[name].shape[place] for name, place in along.items())
    mask = interface.axes[axis].mask
    _require_room(_joined(samples, along, mask, 0, length), batch_size, count)
    rows = [_joined(samples, along, mask, start, length) for start in range(count * batch_size)]
    return [
        {name: np.concatenate([row[name] for row in rows[i : i + batch_size]]) for name in samples}
        for i in range(0, len(rows), batch_size)
    ]


def _require_room(sample: Arrays, batch_size: int, count: int) -> None:
    """Raise InputError where `count` batches of such samples are more than LARGEST_BYTES."""
    size = sum(array.nbytes for array in sample.values()) * batch_size * count
    if size > LARGEST_BYTES:
        raise InputError(
            f"{count} inputs of batch size {batch_size} take {size / 1e9:.3g} GB, more than the limit of "
            f"{LARGEST_BYTES / 1e9:.3g} GB",
            fix="use a smaller batch size or length",
        )


def _joined(samples: Arrays, along: Mapping[str, int], mask: str | None, start: int, length: int) -> Arrays:
    """A batch of one: the content of samples start, start + 1, ... up to `length`. along: name -> the axis' place."""
    total = len(next(iter(samples.values())))
    pieces: dict[str, list[Array]] = {name: [] for name in along}
    have, index = 0, start
    while have < length:
        row = index % total
        content = slice(None) if mask is None else np.flatnonzero(samples[mask][row])
        for name, place in along.items():
            pieces[name].append(np.moveaxis(samples[name][row : row + 1], place, 0)[content])
        have, index = have + len(pieces[name][-1]), index + 1
        if index - start >= total and have == 0:
            raise BundleError("no sample of eval.npz has anything that its mask shows")
    batch = {name: array[start % total][None] for name, array in samples.items() if name not in along}
    for name, place in along.items():
        batch[name] = np.moveaxis(np.concatenate(pieces[name])[:length], 0, place)
    if mask is not None:
        batch[mask] = np.ones_like(batch[mask])
    return batch


def save_feeds(path: Path, feeds: Sequence[Arrays]) -> None:
    """Write a list of feeds, or of outputs, to one npz."""
    np.savez(path, **{f"{i}:{name}": array for i, feed in enumerate(feeds) for name, array in feed.items()})  # type: ignore[arg-type]


def load_feeds(path: Path) -> list[Arrays]:
    """The feeds that `save_feeds` wrote."""
    feeds: dict[int, Arrays] = {}
    with np.load(path, allow_pickle=False) as archive:
        for key in archive.files:
            index, _, name = key.partition(":")
            feeds.setdefault(int(index), {})[name] = archive[key]
    return [feeds[i] for i in sorted(feeds)]
