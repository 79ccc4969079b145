"""Hugging Face models: one function, registered with `AttentionInterface`, serves every architecture that uses it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from edgeattn.convert.attend import attend
from edgeattn.errors import ModelError

IMPLEMENTATION = "edgeattn"
# What some architectures give their attention that no code here computes: it would be left out without a word.
_UNSUPPORTED = ("softcap", "s_aux", "sinks")


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls: q, k, v [B, H, N, D], mask [B, N] -> [B, N, H, Dv]."""
    for name in _UNSUPPORTED:
        if kwargs.get(name) is not None:
            raise ModelError(
                f"{type(module).__name__} gives its attention {name!r}, which edgeattn does not compute",
                fix="use another architecture",
            )
    is_causal = kwargs.get("is_causal")
    out = attend(
        module,
        query,
        key,
        value,
        attention_mask,
        query.shape[-1] ** -0.5 if scaling is None else scaling,
        causal=bool(getattr(module, "is_causal", False) if is_causal is None else is_causal),
        window=kwargs.get("sliding_window"),
        bias=kwargs.get("position_bias"),
    )
    return out.transpose(1, 2).contiguous(), None


def _key_mask(attention_mask: Tensor | None = None, **_: Any) -> Tensor | None:
    """The mask that variants get: the key padding mask [B, N] and never an N x N one."""
    return None if attention_mask is None else attention_mask.bool()


AttentionInterface.register(IMPLEMENTATION, _attention)
AttentionMaskInterface.register(IMPLEMENTATION, _key_mask)
