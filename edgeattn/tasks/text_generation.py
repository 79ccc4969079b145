"""Causal language models: the next token of a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor
from transformers import PreTrainedModel

from edgeattn.data.rows import Rows
from edgeattn.recipe.tasks import TextGeneration
from edgeattn.tasks.base import Samples
from edgeattn.tasks.classes import classes_distance
from edgeattn.tasks.text import LogitsOfText, TextTask, relative_distance


class TextGenerationTask(TextTask):
    """The logits of a whole text at once, as a prompt is read; decoding token by token is not part of it."""

    kind = "text-generation"
    outputs: ClassVar = {"logits": ("batch", "sequence", None)}
    optimum_task = "text-generation"

    spec: TextGeneration

    def read(self, rows: Rows, *, held_out: bool) -> dict[str, Any]:
        return {"text": rows.texts("text")}

    def encode(self, rows: Rows, *, held_out: bool, max_length: int | None = None) -> Samples:
        columns = self.read(rows, held_out=held_out)
        return self.tokens(columns["text"], held_out=held_out, max_length=max_length)

    def exportable(self, model: PreTrainedModel) -> PreTrainedModel:
        return LogitsOfText(model)

    def forward(self, model: PreTrainedModel, feeds: Mapping[str, Tensor]) -> dict[str, Any]:
        out = model(**feeds, output_hidden_states=True)
        return {"hidden": out.hidden_states, "logits": out.logits}

    def distillation_loss(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], feeds: Mapping[str, Tensor]
    ) -> Tensor:
        hidden = relative_distance(student["hidden"], teacher["hidden"], feeds["attention_mask"])
        content = feeds["attention_mask"].bool()  # [B, N]: only these rows of logits, so that padding teaches nothing
        return hidden + classes_distance(student["logits"][content], teacher["logits"][content])
