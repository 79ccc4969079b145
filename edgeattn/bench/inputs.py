"""Inputs of the timed engines: real samples from eval.npz at the requested length, different for each call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeattn.errors import BundleError, InputError
from edgeattn.jsonfile import COPY_AGAIN

Array = NDArray[np.generic]
Arrays = dict[str, Array]
MASK = "attention_mask"
MOST_TOKENS = 2**22  # of one inference; more would only fill memory


class Spec(Protocol):
    """The part of `edgeattn.bundle.TensorSpec` that is used here."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def dims(self) -> tuple[int | str, ...]: ...


def has_sequence(inputs: Sequence[Spec]) -> bool:
    """Whether any input has a symbolic "sequence" dimension."""
    return any("sequence" in spec.dims for spec in inputs)


def sample_arrays(inputs: Sequence[Spec], arrays: Mapping[str, Array]) -> Arrays:
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


def one_by_one(inputs: Sequence[Spec], arrays: Mapping[str, Array], batch_size: int = 1) -> Iterator[Arrays]:
    """The samples in order, `batch_size` at a time, without the padding that a whole batch shares.

    The shipped engine will run without padding; eval.npz pads to its longest sample.
    """
    samples = sample_arrays(inputs, arrays)
    count = len(samples[inputs[0].name])
    fixed = inputs[0].dims[0]
    step = fixed if isinstance(fixed, int) else batch_size
    for start in range(0, count, step):
        batch = {name: array[start : start + step] for name, array in samples.items()}
        yield _trimmed(inputs, batch)


def _trimmed(inputs: Sequence[Spec], batch: Arrays) -> Arrays:
    mask = batch.get(MASK)
    if mask is None or not has_sequence(inputs):
        return batch
    used = np.flatnonzero(np.asarray(mask).any(axis=0))
    end = int(used[-1]) + 1 if len(used) else mask.shape[1]
    cut = {}
    for spec in inputs:
        axis = spec.dims.index("sequence") if "sequence" in spec.dims else None
        array = batch[spec.name]
        cut[spec.name] = array if axis is None else np.take(array, range(end), axis=axis)
    return cut


def bench_feeds(
    inputs: Sequence[Spec],
    arrays: Mapping[str, Array],
    *,
    length: int | None,
    batch_size: int,
    count: int,
) -> list[Arrays]:
    """`count` different feeds, which the timing rotates through.

    With a "sequence" input, the valid tokens of successive samples are concatenated to exactly `length` tokens, all
    attended to; other models get the samples themselves, and `length` is None.
    """
    if batch_size * (length or 1) > MOST_TOKENS:
        raise InputError(
            f"batch size {batch_size} at length {length or 1} is more than {MOST_TOKENS} tokens at once",
            fix="use a smaller batch size or length",
        )
    samples = sample_arrays(inputs, arrays)
    if not has_sequence(inputs):
        if length is not None:
            raise InputError(
                f"length {length} was asked for, but the model has no sequence input",
                fix="leave --lengths out",
            )
        total = len(samples[inputs[0].name])
        take = (np.arange(count * batch_size) % total).reshape(count, batch_size)
        return [{name: array[rows] for name, array in samples.items()} for rows in take]
    if length is None:
        length = max(samples[s.name].shape[s.dims.index("sequence")] for s in inputs if "sequence" in s.dims)
    rows = [_strung_together(inputs, samples, start, length) for start in range(count * batch_size)]
    return [
        {spec.name: np.stack([row[spec.name] for row in rows[i : i + batch_size]]) for spec in inputs}
        for i in range(0, len(rows), batch_size)
    ]


def _strung_together(inputs: Sequence[Spec], samples: Arrays, start: int, length: int) -> Arrays:
    """One row without its batch dimension: the valid tokens of samples start, start + 1, ... up to `length`."""
    total = len(samples[inputs[0].name])
    pieces: dict[str, list[Array]] = {spec.name: [] for spec in inputs}
    have, index = 0, start
    while have < length:
        sample = {name: array[index % total] for name, array in samples.items()}
        valid = slice(None) if MASK not in sample else np.flatnonzero(sample[MASK])
        added = 0
        for spec in inputs:
            if "sequence" in spec.dims:
                piece = np.moveaxis(sample[spec.name], spec.dims.index("sequence") - 1, 0)[valid]
                pieces[spec.name].append(piece)
                added = len(piece)
        have, index = have + added, index + 1
        if index - start >= total and have == 0:
            raise BundleError("no sample of eval.npz has a token that is attended to")
    row: Arrays = {}
    for spec in inputs:
        if "sequence" not in spec.dims:
            row[spec.name] = samples[spec.name][start % total]
        else:
            joined = np.concatenate(pieces[spec.name])[:length]
            row[spec.name] = np.moveaxis(joined, 0, spec.dims.index("sequence") - 1)
    if MASK in row:
        row[MASK] = np.ones_like(row[MASK])
    return row


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
