"""Causal language models: the next token of a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from edgeattn.data.rows import Rows
from edgeattn.errors import InputError, ModelError
from edgeattn.models.reading import models_fault
from edgeattn.recipe.tasks import TextGeneration
from edgeattn.tasks.base import Samples
from edgeattn.tasks.classes import classes_distance
from edgeattn.tasks.text import LogitsTask, relative_distance
from edgeattn.yamlfile import Place


class TextGenerationTask(LogitsTask):
    """The logits of a whole text at once, as a prompt is read. A bundle also has graphs that read one token."""

    kind = "text-generation"
    outputs: ClassVar = {"logits": ("batch", "sequence", None)}
    decodes = True
    optimum_task = "text-generation"

    spec: TextGeneration

    def read(self, rows: Rows, *, held_out: bool) -> dict[str, Any]:
        return {"text": rows.texts("text")}

    def encode(self, rows: Rows, *, held_out: bool, max_length: int | None = None) -> Samples:
        columns = self.read(rows, held_out=held_out)
        return self.tokens(columns["text"], held_out=held_out, max_length=max_length)

    def misfits(self, model: PreTrainedModel, samples: Samples) -> Iterator[tuple[Place, InputError]]:
        others = list(super().misfits(model, samples))
        yield from others
        if not others and self._sees_later_tokens(model, samples):
            fact = f"{type(model).__name__} is no causal language model: its logits depend on later tokens"
            yield ("model", "source"), ModelError(fact, fix="give a decoder, or set is_decoder in its config.json")

    def _sees_later_tokens(self, model: PreTrainedModel, samples: Samples) -> bool:
        """Whether logits change when only the token after them does."""
        feeds = self.example(samples)
        changed = {**feeds, "input_ids": feeds["input_ids"].clone()}
        changed["input_ids"][:, -1] = (feeds["input_ids"][:, -1] + 1) % model.get_input_embeddings().weight.shape[0]
        whole = self.exportable(model)
        with models_fault(self.teacher, "check that the data fits the model"), torch.no_grad():
            before, after = (whole(**each)["logits"][:, :-1] for each in (feeds, changed))
        return not torch.allclose(before, after, rtol=1e-3, atol=1e-4)

    def distillation_loss(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], feeds: Mapping[str, Tensor]
    ) -> Tensor:
        hidden = relative_distance(student["hidden"], teacher["hidden"], feeds["attention_mask"])
        content = feeds["attention_mask"].bool()  # [B, N]: only these rows of logits, so that padding teaches nothing
        return hidden + classes_distance(student["logits"][content], teacher["logits"][content])
