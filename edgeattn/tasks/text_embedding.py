"""Sentence embeddings: masked mean pooling and L2 normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor
from torch.nn.functional import mse_loss, normalize
from transformers import PreTrainedModel

from edgeattn.data.rows import Rows
from edgeattn.recipe.tasks import TextEmbedding
from edgeattn.tasks.base import Samples
from edgeattn.tasks.text import TextTask, hidden_distance


def pool(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """hidden: [B, N, C], attention_mask: [B, N] -> unit vectors [B, C]: the mean of the attended tokens."""
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    # The sum is enough: normalize() would cancel the divisor of the mean.
    return normalize((hidden * mask).sum(1), dim=-1)


class SentenceEmbedder(PreTrainedModel):
    """A text encoder with its pooling, as one module to export."""

    _supports_sdpa = True  # this module has no attention of its own; the encoder's stays as it is
    _supports_attention_backend = True

    def __init__(self, encoder: PreTrainedModel) -> None:
        super().__init__(encoder.config)
        self.encoder = encoder

    # A plain dict, so that ExportedModel.from_pretrained can read its structure without edgeattn.
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return {"sentence_embedding": pool(hidden, attention_mask)}


class TextEmbeddingTask(TextTask):
    kind = "text-embedding"
    outputs: ClassVar = {"sentence_embedding": ("batch", None)}
    optimum_task = "feature-extraction"

    spec: TextEmbedding

    def read(self, rows: Rows, *, held_out: bool) -> dict[str, Any]:
        columns: dict[str, Any] = {"text": rows.texts("text")}
        if "text_pair" in rows:
            columns["text_pair"] = rows.texts("text_pair")
            if held_out and "score" in rows:
                columns["score"] = rows.scores("score")
        return columns

    def encode(self, rows: Rows, *, held_out: bool, max_length: int | None = None) -> Samples:
        columns = self.read(rows, held_out=held_out)
        texts = list(dict.fromkeys([*columns["text"], *columns.get("text_pair", ())]))
        samples = self.tokens(texts, held_out=held_out, max_length=max_length)
        if held_out and "text_pair" in columns:
            place = {text: index for index, text in enumerate(texts)}
            pairs = zip(columns["text"], columns["text_pair"], strict=True)
            samples["label.pairs"] = np.array([(place[a], place[b]) for a, b in pairs], np.int64)
            if "score" in columns:
                samples["label.scores"] = columns["score"]
        return samples

    def exportable(self, model: PreTrainedModel) -> PreTrainedModel:
        return SentenceEmbedder(model)

    def forward(self, model: PreTrainedModel, feeds: Mapping[str, Tensor]) -> dict[str, Any]:
        out = model(**feeds, output_hidden_states=True)
        return {
            "hidden": out.hidden_states,
            "sentence_embedding": pool(out.last_hidden_state, feeds["attention_mask"]),
        }

    def distillation_loss(
        self, student: Mapping[str, Any], teacher: Mapping[str, Any], feeds: Mapping[str, Tensor]
    ) -> Tensor:
        hidden = hidden_distance(student["hidden"], teacher["hidden"], feeds["attention_mask"])
        s, t = student["sentence_embedding"], teacher["sentence_embedding"]
        cosine = 1 - (s * t).sum(-1).mean()
        similarity = mse_loss(s @ s.T, t @ t.T)
        return hidden + 10 * cosine + 10 * similarity
