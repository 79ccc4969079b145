"""Text classification: one label per text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from torch import Tensor
from transformers import PreTrainedModel

from edgeattn.data.rows import Rows
from edgeattn.errors import InputError
from edgeattn.recipe.tasks import TextClassification
from edgeattn.tasks.base import Samples
from edgeattn.tasks.classes import classes_distance, labels_misfit
from edgeattn.tasks.text import LogitsTask, relative_distance
from edgeattn.yamlfile import Place


class TextClassificationTask(LogitsTask):
    kind = "text-classification"
    outputs: ClassVar = {"logits": ("batch", None)}
    optimum_task = "text-classification"

    spec: TextClassification

    def read(self, rows: Rows, *, held_out: bool) -> dict[str, Any]:
        columns: dict[str, Any] = {"text": rows.texts("text")}
        if held_out:
            columns["label"] = rows.labels("label", self.spec.labels)
        return columns

    def encode(self, rows: Rows, *, held_out: bool, max_length: int | None = None) -> Samples:
        columns = self.read(rows, held_out=held_out)
        samples = self.tokens(columns["text"], held_out=held_out, max_length=max_length)
        return samples | ({"label.classes": columns["label"]} if held_out else {})

    def misfits(self, model: PreTrainedModel, samples: Samples) -> Iterator[tuple[Place, InputError]]:
        yield from super().misfits(model, samples)
        yield from labels_misfit(model, self.spec.labels)

    def distillation_loss(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], feeds: Mapping[str, Tensor]
    ) -> Tensor:
        hidden = relative_distance(student["hidden"], teacher["hidden"], feeds["attention_mask"])
        return hidden + classes_distance(student["logits"], teacher["logits"])
