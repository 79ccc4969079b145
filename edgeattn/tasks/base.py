"""The contract of a task: how samples become model inputs, what is compared, what is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from optimum.exporters.tasks import TasksManager
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgeattn import padding
from edgeattn.data.rows import Rows
from edgeattn.errors import InputError
from edgeattn.interface import Axis
from edgeattn.metrics import keep
from edgeattn.models.files import PROCESSOR_FILES
from edgeattn.yamlfile import Place

# Arrays by name; the first axis counts samples. Model inputs have the model's names and are padded, at the end, to the
# largest sample. What else the metrics need is called "label.<name>".
Samples = dict[str, np.ndarray]
Dims = tuple[str | None, ...]  # "batch", then names of axes; None: a size that the data or the model decides


class Task(ABC):
    """What a model is for, made from the `task` part of a recipe and the teacher's folder.

    Its metrics, and what they keep of the outputs, are those of its kind in `edgeattn.metrics`.
    """

    def __init__(self, spec: Any, teacher: Path) -> None:
        """spec: the recipe's part of this kind. teacher: read when it is first needed."""
        self.spec = spec
        self.teacher = teacher

    kind: ClassVar[str]
    inputs: ClassVar[Mapping[str, Dims]]
    outputs: ClassVar[Mapping[str, Dims]]
    axes: ClassVar[Mapping[str, Axis]] = {}
    length_axis: ClassVar[str | None] = None  # the axis that the lengths in a recipe are about
    decodes: ClassVar[bool] = False  # whether its models also generate, token by token
    optimum_task: ClassVar[str]  # optimum's name of the task, which decides the class of its models

    @abstractmethod
    def read(self, rows: Rows, *, held_out: bool) -> dict[str, Any]:
        """The columns that the task uses of `rows`, checked whole; the teacher is not needed.

        held_out: with those that the metrics need. Raises DataError with file and row.
        """

    @abstractmethod
    def encode(self, rows: Rows, *, held_out: bool, max_length: int | None = None) -> Samples:
        """Model inputs of `rows`; if they are held out, also the labels that the metrics need.

        max_length: kept of a sample along the length axis; the task's own when None.
        Raises DataError as `read` does, and ModelError for a tokenizer that cannot read the held-out texts.
        """

    @abstractmethod
    def exportable(self, model: PreTrainedModel) -> PreTrainedModel:
        """`model` with the task's own head, such as pooling, so that the exported graph returns the task's outputs."""

    @abstractmethod
    def forward(self, model: PreTrainedModel, feeds: Mapping[str, Tensor]) -> dict[str, Any]:
        """Runs `model`: {"hidden": one [B, N, C] for the embedding and for each layer, output name: [B, ...]}."""

    @abstractmethod
    def distillation_loss(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], feeds: Mapping[str, Tensor]
    ) -> Tensor:
        """The distance of the student's `forward` from the teacher's on the same feeds, a scalar."""

    def longest(self, model: nn.Module) -> int | None:
        """The most that `model` takes along the length axis; None: no limit, or no such axis."""
        return None

    def misfits(self, model: PreTrainedModel, samples: Samples) -> Iterator[tuple[Place, InputError]]:
        """What a pretrained model cannot do with the samples or the recipe, each with its place in the recipe."""
        yield from ()

    def dynamic_dims(self) -> dict[str, dict[int, str]]:
        """input name -> dimension -> its name, for each dimension whose size may change."""
        return {
            name: {place: dim for place, dim in enumerate(dims) if dim is not None}
            for name, dims in self.inputs.items()
        }

    @property
    def auto_model(self) -> Any:
        """The transformers Auto class that loads a model for this task."""
        return TasksManager.get_model_class_for_task(self.optimum_task)

    @property
    def masks(self) -> tuple[str, ...]:
        """The inputs that tell content from padding."""
        return tuple(axis.mask for axis in self.axes.values() if axis.mask is not None)

    def count(self, samples: Samples) -> int:
        """The number of samples."""
        return len(samples[next(iter(self.inputs))])

    def lengths(self, samples: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """[S]: how much of each sample is no padding; None where none is ever padded."""
        return padding.lengths(samples, self.axes)

    def trimmed(self, samples: Samples, rows: np.ndarray | list[int] | slice) -> Samples:
        """The model inputs of some samples, without what is padding in all of these."""
        return padding.trim({name: samples[name][rows] for name in self.inputs}, self.inputs, self.axes)

    def collate(self, samples: Samples, rows: np.ndarray | list[int] | slice) -> dict[str, Tensor]:
        """A batch of the model inputs among `samples`, without what is padding in every row."""
        batch = self.trimmed(samples, rows)
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in batch.items()}

    def overlap(self, train: Samples, held_out: Samples) -> int:
        """The number of held-out samples whose inputs are also in the training data."""
        known = set(self._contents(train))
        return sum(content in known for content in self._contents(held_out))

    def _contents(self, samples: Samples) -> Iterator[tuple[bytes, ...]]:
        for row in range(self.count(samples)):
            yield tuple(array.tobytes() for array in self.trimmed(samples, slice(row, row + 1)).values())

    def example(self, samples: Samples) -> dict[str, Tensor]:
        """A batch of two, to trace a model with."""
        return self.collate(samples, slice(0, 2))

    def batches(self, samples: Samples, size: int) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
        """(rows, feeds) over all samples; samples of similar length share a batch, so that little is padding."""
        lengths = self.lengths(samples)
        order = np.arange(self.count(samples)) if lengths is None else np.argsort(lengths, kind="stable")
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            yield rows, self.collate(samples, rows)

    def run(self, model: nn.Module, samples: Samples, size: int = 32) -> Samples:
        """The outputs of an exportable model for every sample: name -> [S, ...], floats as float32."""
        return self._run(model, samples, size, lambda outputs, inputs: outputs)

    def kept(self, model: nn.Module, samples: Samples, size: int = 32) -> Samples:
        """What the metrics need of an exportable model's outputs for every sample: name -> [S, ...]."""
        return self._run(model, samples, size, lambda outputs, inputs: keep(self.kind, outputs, inputs))

    def _run(
        self, model: nn.Module, samples: Samples, size: int, reduce: Callable[[Samples, Samples], Samples]
    ) -> Samples:
        model.eval()
        order, parts = [], []
        for rows, feeds in self.batches(samples, size):
            with torch.no_grad():
                found = model(**feeds)
            outputs = {name: _array(found[name]) for name in self.outputs}
            order.append(rows)
            parts.append(reduce(outputs, {name: x.numpy() for name, x in feeds.items()}))
        place = np.argsort(np.concatenate(order))
        return {name: padding.stack([part[name] for part in parts])[place] for name in parts[0]}

    def processor_files(self, teacher: Path) -> list[Path]:
        """The files in the teacher's folder that prepare its inputs: tokenizer or image processor."""
        return [teacher / name for name in PROCESSOR_FILES if (teacher / name).is_file()]


def _array(output: Tensor) -> np.ndarray:
    array: np.ndarray = (output.float() if output.is_floating_point() else output).numpy()
    return array
