"""Sentence embeddings: masked mean pooling and L2 normalisation."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.functional import mse_loss, normalize
from transformers import PreTrainedModel

from edgeattn.data.rows import Rows
from edgeattn.errors import ModelError
from edgeattn.metrics import METRICS
from edgeattn.models.files import TOKENIZER_FILES
from edgeattn.models.reading import load_tokenizer
from edgeattn.recipe.schema import TextEmbedding
from edgeattn.tasks.base import Samples, Task


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


class TextEmbeddingTask(Task):
    kind = "text-embedding"
    metrics = METRICS["text-embedding"]
    inputs = ("input_ids", "attention_mask")
    output = "sentence_embedding"
    optimum_task = "feature-extraction"

    spec: TextEmbedding

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The teacher's tokenizer. Raises ModelError where the teacher has none, or a broken one."""
        if not any((self.teacher / name).is_file() for name in TOKENIZER_FILES):
            # transformers would make one up, which turns every text into the same tokens.
            raise ModelError("no tokenizer", where=str(self.teacher), fix="save the tokenizer beside the model")
        return load_tokenizer(self.teacher, self.inputs)

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
        encoded = self.tokenizer(
            texts,
            truncation=True,
            max_length=max_length or self.spec.max_length,
            padding=True,
            return_tensors="np",
        )
        samples = {name: encoded[name].astype(np.int64) for name in self.inputs}
        if held_out:
            self._check_tokens(samples)
        if held_out and "text_pair" in columns:
            place = {text: index for index, text in enumerate(texts)}
            pairs = zip(columns["text"], columns["text_pair"], strict=True)
            samples["pairs"] = np.array([(place[a], place[b]) for a, b in pairs], np.int64)
            if "score" in columns:
                samples["gold"] = columns["score"]
        return samples

    def _check_tokens(self, samples: Samples) -> None:
        """Raise ModelError for a tokenizer to which most texts are the same, or most words unknown."""
        ids, mask = samples["input_ids"], samples["attention_mask"]
        fix = "give the tokenizer that the model was trained with"
        different = len(np.unique(np.where(mask, ids, -1), axis=0))
        if 2 * different < len(ids):
            fact = f"its tokenizer turns {len(ids)} different held-out texts into {different} different inputs"
            raise ModelError(fact, where=str(self.teacher), fix=f"{fix}, or a larger task.max_length")
        special = [token for token in self.tokenizer.all_special_ids if token != self.tokenizer.unk_token_id]
        words = mask.astype(bool) & ~np.isin(ids, special)
        unknown = int((words & (ids == self.tokenizer.unk_token_id)).sum())
        if self.tokenizer.unk_token_id is not None and 2 * unknown > words.sum():
            fact = f"its tokenizer does not know {unknown} of the {words.sum()} tokens of the held-out texts"
            raise ModelError(fact, where=str(self.teacher), fix=fix)

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
