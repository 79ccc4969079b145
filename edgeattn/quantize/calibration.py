"""Calibration samples: drawn from the encoded training data by length, never from the held-out data."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from edgeattn import padding
from edgeattn.bench.inputs import Array, Arrays
from edgeattn.errors import DataError
from edgeattn.interface import Interface

LOG = logging.getLogger("edgeattn")


def draw(
    train: Mapping[str, Array], held_out: Mapping[str, Array], interface: Interface, *, samples: int, seed: int = 0
) -> list[Arrays]:
    """At most `samples` model inputs of batch 1, one from each of as many strata of equal size, the shortest first.

    train, held_out: arrays [S, ...] by name, of which the interface names the inputs. Each sample is trimmed to its
    own length. Where nothing is ever padded, the strata follow the order of the data.
    A training sample that is also held out is left out, and their number is logged. Raises DataError if none is left.
    """
    banned = {_content(row) for row in _rows(held_out, interface)}
    rows = list(_rows(train, interface))
    usable = [row for row in rows if _content(row) not in banned]
    shared = len(rows) - len(usable)
    if not usable:
        fact = f"all {shared} training samples are held out too" if shared else "there are no training samples"
        raise DataError(
            f"no calibration samples: {fact}",
            where="data.train",
            fix="give other training data, or methods that need no calibration",
        )
    if shared:
        LOG.warning("%d of %d training samples are held out too: none of them calibrates", shared, len(rows))
    usable.sort(key=lambda row: _length(row, interface))
    rng = np.random.default_rng(seed)
    edges = np.linspace(0, len(usable), min(samples, len(usable)) + 1).astype(int)
    return [usable[rng.integers(low, high)] for low, high in pairwise(edges)]


def _rows(arrays: Mapping[str, Array], interface: Interface) -> Iterator[Arrays]:
    """The inputs of each sample, [1, ...], without padding."""
    inputs = {spec.name: arrays[spec.name] for spec in interface.inputs}
    for index in range(min(map(len, inputs.values()))):
        row = {name: array[index : index + 1] for name, array in inputs.items()}
        yield padding.trim(row, interface.dims, interface.axes)


def _content(row: Arrays) -> tuple[bytes, ...]:
    return tuple(array.tobytes() for array in row.values())


def _length(row: Arrays, interface: Interface) -> int:
    lengths = padding.lengths(row, interface.axes)
    return 0 if lengths is None else int(lengths[0])
