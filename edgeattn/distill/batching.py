"""Samples in the form that the Trainer takes: one at a time, without padding, so that it can group them by length."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from edgeattn.tasks import Samples, Task


class Unpadded(Dataset[dict[str, np.ndarray]]):
    """The samples of a task; sequences come without padding."""

    def __init__(self, samples: Samples, task: Task, extra: tuple[str, ...] = ()) -> None:
        self._names = (*task.inputs, *extra)
        self._samples = samples
        mask = samples.get("attention_mask")
        self._lengths = None if mask is None else mask.sum(1)
        self._sequences = set() if mask is None else set(task.inputs)

    def __len__(self) -> int:
        return len(self._samples[self._names[0]])

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        sample = {name: self._samples[name][row] for name in self._names}
        if self._lengths is None:
            return sample
        length = int(self._lengths[row])
        return {name: x[:length] if name in self._sequences else x for name, x in sample.items()}


def collate(samples: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Stacks samples, padded with zeros to the longest of this batch."""
    return {name: _stack([np.asarray(sample[name]) for sample in samples]) for name in samples[0]}


def _stack(arrays: list[np.ndarray]) -> Tensor:
    shape = [len(arrays), *np.max([array.shape for array in arrays], axis=0).astype(int)] if arrays[0].ndim else None
    if shape is None or all(array.shape == arrays[0].shape for array in arrays):
        return torch.from_numpy(np.stack(arrays))
    out: np.ndarray[Any, Any] = np.zeros(shape, arrays[0].dtype)
    for row, array in enumerate(arrays):
        out[row][tuple(slice(0, n) for n in array.shape)] = array
    return torch.from_numpy(out)
