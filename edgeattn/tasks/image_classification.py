"""Image classification: one label per image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from torch import Tensor
from transformers import PreTrainedModel

from edgeattn.data.rows import Rows
from edgeattn.errors import InputError
from edgeattn.recipe.tasks import ImageClassification
from edgeattn.tasks.base import Samples, Task
from edgeattn.tasks.classes import classes_distance, labels_misfit
from edgeattn.yamlfile import Place


class ImageClassificationTask(Task):
    kind = "image-classification"
    inputs: ClassVar = {"pixel_values": ("batch", None, None, None)}
    outputs: ClassVar = {"logits": ("batch", None)}
    optimum_task = "image-classification"

    spec: ImageClassification

    def read(self, rows: Rows, *, held_out: bool) -> dict[str, Any]:
        return {"image": rows.images("image"), "label": rows.labels("label", self.spec.labels)}

    def encode(self, rows: Rows, *, held_out: bool, max_length: int | None = None) -> Samples:
        columns = self.read(rows, held_out=held_out)
        return {"pixel_values": columns["image"], "label.classes": columns["label"]}

    def exportable(self, model: PreTrainedModel) -> PreTrainedModel:
        return model

    def forward(self, model: PreTrainedModel, feeds: Mapping[str, Tensor]) -> dict[str, Any]:
        out = model(**feeds, output_hidden_states=True)
        return {"hidden": out.hidden_states, "logits": out.logits}

    def misfits(self, model: PreTrainedModel, samples: Samples) -> Iterator[tuple[Place, InputError]]:
        yield from labels_misfit(model, self.spec.labels)

    def distillation_loss(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], feeds: Mapping[str, Tensor]
    ) -> Tensor:
        pairs = list(zip(student["hidden"][1:], teacher["hidden"][1:], strict=True))
        # Relative to the teacher's: the hidden states of a small model have no common scale.
        hidden = sum((s - t).square().mean() / t.square().mean() for s, t in pairs) / len(pairs)
        return hidden + classes_distance(student["logits"], teacher["logits"])
