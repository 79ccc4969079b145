"""Attention that cannot be replaced, because its module computes it by itself: which class, and why."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from edgeattn.errors import ModelError

LOG = logging.getLogger("edgeattn")

_ALIBI = "adds ALiBi, a bias by distance, to its scores"
# Words in the names of such modules, their parts and arguments, and what they mean. The first that fits.
_REASONS = (
    (("alibi",), _ALIBI),
    (
        ("rel_embeddings", "disentangled"),
        "attends by content and by relative position at once (disentangled attention)",
    ),
    (("relative", "rel_pos", "position_bias", "pos_bias"), "adds relative positions to its scores"),
    (("block_size", "num_random_blocks", "global_block"), "attends sparsely, by blocks of its own"),
    (("attn_window", "attention_window"), "attends in windows of its own"),
    (("num_hash",), "attends sparsely, by hashed buckets"),
)


@dataclass(frozen=True)
class LeftOut:
    """An attention module that never calls `attend`."""

    name: str  # qualified name in the model
    kind: str  # its class
    reason: str  # a clause: "adds ALiBi, a bias by distance, to its scores"

    @classmethod
    def of(cls, module: nn.Module, name: str, config: Any = None) -> LeftOut:
        """config: of the model, if it is one of transformers."""
        return cls(name, type(module).__name__, _reason(module, config))


def _reason(module: nn.Module, config: Any) -> str:
    # Falcon takes an argument for ALiBi and may not use it; MPT hands it over under another name.
    alibi = getattr(config, "alibi", getattr(getattr(config, "attn_config", None), "alibi", None))
    if alibi:
        return _ALIBI
    own = [name for part in module.modules() for name in (*vars(part), *part._parameters, *part._buffers)]
    called = [*inspect.signature(module.forward).parameters, *own, *(name for name, _ in module.named_modules())]
    text = " ".join([type(module).__name__, *called]).lower()
    if alibi is False:
        text = text.replace("alibi", "")
    found = (reason for words, reason in _REASONS if any(word in text for word in words))
    return next(found, "computes its scores itself")


def _by_class(left_out: Sequence[LeftOut]) -> str:
    """For each class such as "BloomAttention (h.0.self_attention and 1 more) adds ALiBi to its scores"."""
    said = []
    for kind in dict.fromkeys(each.kind for each in left_out):
        own = [each for each in left_out if each.kind == kind]
        more = f" and {len(own) - 1} more" if len(own) > 1 else ""
        said.append(f"{kind} ({own[0].name}{more}) {own[0].reason}")
    return "; ".join(said)


def without_layers(model: nn.Module, left_out: Sequence[LeftOut]) -> ModelError:
    """The refusal of a model that has no layer whose attention can be replaced."""
    kind, why = type(model).__name__, _by_class(left_out)
    if isinstance(model, PreTrainedModel):
        return ModelError(
            f"{kind} has no attention that edgeattn can replace: {why or 'none of its modules is called attention'}",
            fix="use an architecture whose attention goes through transformers.AttentionInterface: see docs/models.md",
        )
    return ModelError(
        f"{kind} has no attention that edgeattn can replace{f': {why}' if why else ''}",
        fix="build it of torch.nn.MultiheadAttention, timm.layers.Attention or a transformers model",
    )


@functools.cache  # a compile converts the same model several times
def warn_of(model: str, left_out: tuple[LeftOut, ...]) -> None:
    """Logs, once, that some attention of a model stays as it is."""
    if left_out:
        many = f"{len(left_out)} attention modules cannot be replaced and stay as they are"
        fact = many if len(left_out) > 1 else "1 attention module cannot be replaced and stays as it is"
        LOG.warning("%s: %s: %s", model, fact, _by_class(left_out))
