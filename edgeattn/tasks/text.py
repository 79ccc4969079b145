"""What the tasks of texts share: tokens, their axis and mask, and the checks of tokenizer and model."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgeattn.errors import InputError, ModelError
from edgeattn.interface import Axis
from edgeattn.models.files import TOKENIZER_FILES
from edgeattn.models.positions import token_limit
from edgeattn.models.reading import load_tokenizer
from edgeattn.tasks.base import Samples, Task
from edgeattn.yamlfile import Place

_FIX = "give the tokenizer that the model was trained with"


class TextTask(Task):
    """A task whose samples are texts: [B, N] tokens and their mask, padded on the right."""

    inputs: ClassVar = {"input_ids": ("batch", "sequence"), "attention_mask": ("batch", "sequence")}
    axes: ClassVar = {"sequence": Axis(unit="tokens", mask="attention_mask")}
    length_axis = "sequence"

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The teacher's tokenizer. Raises ModelError where the teacher has none, or a broken one."""
        if not any((self.teacher / name).is_file() for name in TOKENIZER_FILES):
            # transformers would make one up, which turns every text into the same tokens.
            raise ModelError("no tokenizer", where=str(self.teacher), fix="save the tokenizer beside the model")
        return load_tokenizer(self.teacher, tuple(self.inputs))

    def tokens(self, texts: Sequence[str], *, held_out: bool, max_length: int | None) -> Samples:
        """The model inputs of `texts`. Raises ModelError for a tokenizer that cannot read held-out texts."""
        encoded = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=max_length or self.spec.max_length,
            padding=True,
            return_tensors="np",
        )
        samples = {name: encoded[name].astype(np.int64) for name in self.inputs}
        if held_out:
            self._check_tokens(samples, len(set(texts)))
        return samples

    def _check_tokens(self, samples: Samples, texts: int) -> None:
        """Raise ModelError for a tokenizer to which most of so many texts are the same, or most words unknown."""
        ids, mask = samples["input_ids"], samples["attention_mask"]
        different = len(np.unique(np.where(mask, ids, -1), axis=0))
        if 2 * different < texts:
            fact = f"its tokenizer turns {texts} different held-out texts into {different} different inputs"
            raise ModelError(fact, where=str(self.teacher), fix=f"{_FIX}, or a larger task.max_length")
        special = [token for token in self.tokenizer.all_special_ids if token != self.tokenizer.unk_token_id]
        words = mask.astype(bool) & ~np.isin(ids, special)
        unknown = int((words & (ids == self.tokenizer.unk_token_id)).sum())
        if self.tokenizer.unk_token_id is not None and 2 * unknown > words.sum():
            fact = f"its tokenizer does not know {unknown} of the {words.sum()} tokens of the held-out texts"
            raise ModelError(fact, where=str(self.teacher), fix=_FIX)

    def longest(self, model: nn.Module) -> int | None:
        return token_limit(model)

    def misfits(self, model: PreTrainedModel, samples: Samples) -> Iterator[tuple[Place, InputError]]:
        tokens, known = int(samples["input_ids"].max()) + 1, model.get_input_embeddings().weight.shape[0]
        if tokens > known:
            fact = f"its tokenizer gives the token {tokens - 1}, and the model has {known} tokens"
            yield ("model", "source"), ModelError(fact, fix=_FIX)


class LogitsTask(TextTask):
    """A task whose model has a head that gives logits."""

    def exportable(self, model: PreTrainedModel) -> PreTrainedModel:
        return LogitsOfText(model)

    def forward(self, model: PreTrainedModel, feeds: Mapping[str, Tensor]) -> dict[str, Any]:
        out = model(**feeds, output_hidden_states=True)
        return {"hidden": out.hidden_states, "logits": out.logits}


class LogitsOfText(PreTrainedModel):
    """A text model with a head, as a module that returns its logits and nothing else, such as a cache."""

    _supports_sdpa = True  # this module has no attention of its own; the model's stays as it is
    _supports_attention_backend = True

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(model.config)
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        return {"logits": self.model(input_ids=input_ids, attention_mask=attention_mask).logits}


def hidden_distance(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """The mean squared distance of the hidden states of all layers, [B, N, C] each, over what `mask` [B, N] keeps."""
    pairs = zip(student[1:], teacher[1:], strict=True)  # the first is the embedding, before any layer
    return torch.stack([_mean_square(s - t, mask) for s, t in pairs]).mean()


def relative_distance(student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor) -> Tensor:
    """`hidden_distance` with each layer's relative to the teacher's mean square, for models of any scale."""
    pairs = zip(student[1:], teacher[1:], strict=True)
    return torch.stack([_mean_square(s - t, mask) / _mean_square(t, mask) for s, t in pairs]).mean()


def _mean_square(x: Tensor, mask: Tensor) -> Tensor:
    weight = mask.unsqueeze(-1).to(x.dtype)
    return (x.square() * weight).sum() / (weight.sum() * x.shape[-1])
