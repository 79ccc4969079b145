"""Sentence embeddings: masked mean pooling and L2 normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import mse_loss, normalize
from transformers import AutoTokenizer, PreTrainedModel

from edgeattn.errors import DataError
from edgeattn.metrics import METRICS
from edgeattn.recipe.schema import TextEmbedding
from edgeattn.tasks.base import Samples, Task


def pool(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """hidden: [B, N, C], attention_mask: [B, N] -> unit vectors [B, C]: the mean of the attended tokens."""
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    # normalize() would divide the mean's own divisor out again: the sum is enough.
    return normalize((hidden * mask).sum(1), dim=-1)


class SentenceEmbedder(PreTrainedModel):
    """A text encoder with its pooling, as one module to export."""

    _supports_sdpa = True  # this module has no attention of its own; the encoder's stays as it is
    _supports_attention_backend = True

    def __init__(self, encoder: PreTrainedModel) -> None:
        super().__init__(encoder.config)
        self.encoder = encoder

    # A plain dict, so that ExportedModel.from_pretrained needs nothing of edgeattn to read its structure back.
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return {"sentence_embedding": pool(hidden, attention_mask)}


class TextEmbeddingTask(Task):
    kind = "text-embedding"
    metrics = METRICS["text-embedding"]
    inputs = ("input_ids", "attention_mask")
    output = "sentence_embedding"
    optimum_task = "feature-extraction"

    def __init__(self, spec: TextEmbedding, teacher: Path) -> None:
        super().__init__(spec, teacher)
        # To the right, whatever the model was trained with: batches are cut to their longest sample on that side.
        self.tokenizer = AutoTokenizer.from_pretrained(teacher, padding_side="right")

    def encode(self, rows: Dataset, *, held_out: bool, max_length: int | None = None) -> Samples:
        if "text" not in rows.column_names:
            raise DataError("text-embedding needs a text column", fix="name it under columns: {text: ...}")
        columns = [rows["text"]] + ([rows["text_pair"]] if "text_pair" in rows.column_names else [])
        texts = list(dict.fromkeys(str(text) for column in columns for text in column))
        encoded = self.tokenizer(
            texts,
            truncation=True,
            max_length=max_length or self.spec.max_length,
            padding=True,
            return_tensors="np",
        )
        samples = {name: encoded[name].astype(np.int64) for name in self.inputs}
        if held_out and "text_pair" in rows.column_names:
            place = {text: index for index, text in enumerate(texts)}
            pairs = zip(rows["text"], rows["text_pair"], strict=True)
            samples["pairs"] = np.array([(place[str(a)], place[str(b)]) for a, b in pairs], np.int64)
            if "score" in rows.column_names:
                samples["gold"] = np.array(rows["score"], np.float64)
        return samples

    def dynamic_dims(self) -> dict[str, dict[int, str]]:
        return {name: {0: "batch", 1: "sequence"} for name in self.inputs}

    def exportable(self, model: PreTrainedModel) -> PreTrainedModel:
        return SentenceEmbedder(model)

    def forward(self, model: PreTrainedModel, feeds: Mapping[str, Tensor]) -> dict[str, Any]:
        out = model(**feeds, output_hidden_states=True)
        return {
            "hidden": out.hidden_states,
            self.output: pool(out.last_hidden_state, feeds["attention_mask"]),
        }

    def distillation_loss(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], feeds: Mapping[str, Tensor]
    ) -> Tensor:
        mask = feeds["attention_mask"].unsqueeze(-1).to(student["hidden"][0].dtype)
        share = 1 / (mask.sum() * student["hidden"][0].shape[-1])
        hidden = sum(
            ((s - t).square() * mask).sum() * share
            for s, t in zip(student["hidden"][1:], teacher["hidden"][1:], strict=True)
        )
        s, t = student[self.output], teacher[self.output]
        cosine = 1 - (s * t).sum(-1).mean()
        similarity = mse_loss(s @ s.T, t @ t.T)
        return hidden / (len(student["hidden"]) - 1) + 10 * cosine + 10 * similarity
