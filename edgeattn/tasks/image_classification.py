"""Image classification: one label an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax
from transformers import PreTrainedModel

from edgeattn.errors import DataError
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

    def encode(self, rows: Dataset, *, held_out: bool, max_length: int | None = None) -> Samples:
        for name in ("image", "label"):
            if name not in rows.column_names:
                raise DataError(
                    f"image-classification needs the column {name}", fix=f"name it: columns: {{{name}: ...}}"
                )
        rows = rows.with_format("numpy")
        images, labels = np.stack(list(rows["image"])).astype(np.float32), np.asarray(rows["label"], np.int64)
        if images.ndim != 4:
            raise DataError(f"images of shape {list(images.shape[1:])}, not [channels, height, width]")
        wrong = labels[(labels < 0) | (labels >= self.spec.labels)]
        if wrong.size:
            raise DataError(f"label {wrong[0]} is outside the task's {self.spec.labels} labels")
        return {"pixel_values": images, "label": labels}

    def exportable(self, model: PreTrainedModel) -> PreTrainedModel:
        return model

    def forward(self, model: PreTrainedModel, feeds: Mapping[str, Tensor]) -> dict[str, Any]:
        out = model(**feeds, output_hidden_states=True)
        return {"hidden": out.hidden_states, self.output: out.logits}

    def distillation_loss(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], feeds: Mapping[str, Tensor]
    ) -> Tensor:
        pairs = list(zip(student["hidden"][1:], teacher["hidden"][1:], strict=True))
        # Relative to the teacher's own size: a small model's hidden states have no common scale.
        hidden = sum((s - t).square().mean() / t.square().mean() for s, t in pairs) / len(pairs)
        logits = kl_div(
            log_softmax(student[self.output], -1),
            log_softmax(teacher[self.output], -1),
            log_target=True,
            reduction="batchmean",
        )
        return hidden + logits
