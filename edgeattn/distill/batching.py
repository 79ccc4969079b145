"""Samples in the form that the Trainer takes: one at a time, without padding, so that it can group them by length."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from edgeattn.padding import stack
from edgeattn.tasks import Samples, Task


class Unpadded(Dataset[dict[str, np.ndarray]]):
    """The samples of a task without their padding. lengths: [S] how much of each is content; None: never padded."""

    def __init__(self, samples: Samples, task: Task, extra: tuple[str, ...] = ()) -> None:
        self._task, self._samples, self._extra = task, samples, extra
        self.lengths = task.lengths(samples)

    def __len__(self) -> int:
        return self._task.count(self._samples)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        sample = {name: x[0] for name, x in self._task.trimmed(self._samples, slice(row, row + 1)).items()}
        return sample | {name: self._samples[name][row] for name in self._extra}


def collate(samples: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Stacks samples, padded with zeros to the longest of this batch."""
    stacked = {name: stack([np.asarray(sample[name])[None] for sample in samples]) for name in samples[0]}
    return {name: torch.from_numpy(array) for name, array in stacked.items()}
