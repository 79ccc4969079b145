"""The contract of a task: how samples become model inputs, what is compared, what is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from optimum.exporters.tasks import TasksManager
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgeattn.data.rows import Rows
from edgeattn.manifest import Metric
from edgeattn.models.files import PROCESSOR_FILES

# Arrays by name; the first axis counts samples. Model inputs have the model's names: sequences are padded to the
# longest and come with their attention_mask. What else the metrics need is in "label", "pairs" and "gold".
Samples = dict[str, np.ndarray]


class Task(ABC):
    """What a model is for, made from the `task` part of a recipe and the teacher's folder."""

    def __init__(self, spec: Any, teacher: Path) -> None:
        """spec: the recipe's part of this kind. teacher: read when it is first needed."""
        self.spec = spec
        self.teacher = teacher

    kind: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    inputs: ClassVar[tuple[str, ...]]
    output: ClassVar[str]
    optimum_task: ClassVar[str]  # optimum's name of the task, which decides the class of its models

    @abstractmethod
    def read(self, rows: Rows, *, held_out: bool) -> dict[str, Any]:
        """The columns that the task uses of `rows`, checked whole; the teacher is not needed.

        held_out: with those that the metrics need. Raises DataError with file and row.
        """

    @abstractmethod
    def encode(self, rows: Rows, *, held_out: bool, max_length: int | None = None) -> Samples:
        """Model inputs of `rows`; if they are held out, also the arrays that the metrics need (pairs, gold, labels).

        max_length: tokens kept of a text; the task's own when None.
        Raises DataError as `read` does, and ModelError for a tokenizer that cannot read the held-out texts.
        """

    @abstractmethod
    def exportable(self, model: PreTrainedModel) -> PreTrainedModel:
        """`model` with the task's own head, such as pooling, so that the exported graph returns the task's output."""

    @abstractmethod
    def forward(self, model: PreTrainedModel, feeds: Mapping[str, Tensor]) -> dict[str, Any]:
        """Runs `model`: {"hidden": one [B, N, C] for the embedding and for each layer, output name: [B, ...]}."""

    @abstractmethod
    def distillation_loss(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], feeds: Mapping[str, Tensor]
    ) -> Tensor:
        """The distance of the student's `forward` from the teacher's on the same feeds, a scalar."""

    def dynamic_dims(self) -> dict[str, dict[int, str]]:
        """input name -> axis -> name of the axis, for each axis whose size may change."""
        return {name: {0: "batch"} for name in self.inputs}

    @property
    def auto_model(self) -> Any:
        """The transformers Auto class that loads a model for this task."""
        return TasksManager.get_model_class_for_task(self.optimum_task)

    @property
    def has_sequence(self) -> bool:
        """Whether an input's length may change."""
        return any("sequence" in axes.values() for axes in self.dynamic_dims().values())

    def collate(self, samples: Samples, rows: np.ndarray | list[int] | slice) -> dict[str, Tensor]:
        """A batch of the model inputs among `samples`, without columns that are padding in every row."""
        batch = {name: samples[name][rows] for name in self.inputs}
        mask = batch.get("attention_mask")
        if mask is not None:
            longest = max(1, int(mask.sum(1).max()))
            batch = {name: values[:, :longest] for name, values in batch.items()}
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in batch.items()}

    def overlap(self, train: Samples, held_out: Samples) -> int:
        """The number of held-out samples whose inputs are also in the training data."""
        known = {tuple(row.tobytes() for row in rows) for rows in self._rows(train)}
        return sum(tuple(row.tobytes() for row in rows) in known for rows in self._rows(held_out))

    def _rows(self, samples: Samples) -> Iterator[list[np.ndarray]]:
        mask = samples.get("attention_mask")
        for index in range(len(samples[self.inputs[0]])):
            end = None if mask is None else int(mask[index].sum())
            yield [samples[name][index][:end] for name in self.inputs]

    def example(self, samples: Samples) -> dict[str, Tensor]:
        """A batch of two, to trace a model with."""
        return self.collate(samples, slice(0, 2))

    def batches(self, samples: Samples, size: int) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
        """(rows, feeds) over all samples; samples of similar length share a batch, so that little is padding."""
        count = len(samples[self.inputs[0]])
        mask = samples.get("attention_mask")
        order = np.arange(count) if mask is None else np.argsort(mask.sum(1), kind="stable")
        for start in range(0, count, size):
            rows = order[start : start + size]
            yield rows, self.collate(samples, rows)

    @torch.no_grad()
    def run(self, model: nn.Module, samples: Samples, size: int = 32) -> np.ndarray:
        """The task's output of an exportable model for every sample: [S, ...] float32."""
        model.eval()
        out: np.ndarray | None = None
        for rows, feeds in self.batches(samples, size):
            result = model(**feeds)[self.output].float().numpy()
            if out is None:
                out = np.empty((len(samples[self.inputs[0]]), *result.shape[1:]), np.float32)
            out[rows] = result
        assert out is not None  # samples are never empty: load_rows refuses that
        return out

    def processor_files(self, teacher: Path) -> list[Path]:
        """The files in the teacher's folder that prepare its inputs: tokenizer or image processor."""
        return [teacher / name for name in PROCESSOR_FILES if (teacher / name).is_file()]
