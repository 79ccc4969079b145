"""Image classification: one label per image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax
from transformers import PreTrainedModel

from edgeattn.data.rows import Rows
from edgeattn.metrics import METRICS
from edgeattn.recipe.schema import ImageClassification
from edgeattn.tasks.base import Samples, Task


class ImageClassificationTask(Task):
    kind = "image-classification"
    metrics = METRICS["image-classification"]
    inputs = ("pixel_values",)
    output = "logits"
    optimum_task = "image-classification"

    spec: ImageClassification

    def read(self, rows: Rows, *, held_out: bool) -> dict[str, Any]:
        return {"image": rows.images("image"), "label": rows.labels("label", self.spec.labels)}

    def encode(self, rows: Rows, *, held_out: bool, max_length: int | None = None) -> Samples:
        columns = self.read(rows, held_out=held_out)
        return {"pixel_values": columns["image"], "label": columns["label"]}

    def exportable(self, model: PreTrainedModel) -> PreTrainedModel:
        return model

    def forward(self, model: PreTrainedModel, feeds: Mapping[str, Tensor]) -> dict[str, Any]:
        out = model(**feeds, output_hidden_states=True)
        return {"hidden": out.hidden_states, self.output: out.logits}

    def distillation_loss(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], feeds: Mapping[str, Tensor]
    ) -> Tensor:
        pairs = list(zip(student["hidden"][1:], teacher["hidden"][1:], strict=True))
        # Relative to the teacher's: the hidden states of a small model have no common scale.
        hidden = sum((s - t).square().mean() / t.square().mean() for s, t in pairs) / len(pairs)
        logits = kl_div(
            log_softmax(student[self.output], -1),
            log_softmax(teacher[self.output], -1),
            log_target=True,
            reduction="batchmean",
        )
        return hidden + logits
