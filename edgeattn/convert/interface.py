"""Hugging Face models: one function, registered with `AttentionInterface`, serves every architecture that uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import bidirectional_mask_function

from edgeattn.convert.attend import attend
from edgeattn.convert.layers import SLOT, pattern_of, place_of, recording
from edgeattn.convert.mask_functions import pattern
from edgeattn.convert.masks import both, split
from edgeattn.errors import ModelError

IMPLEMENTATION = "edgeattn"
# Arguments that some architectures give their attention and edgeattn does not compute: refused, never ignored.
_UNSUPPORTED = ("indices", "block_indices", "cu_seq_lens_q")


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
    """The attention function that transformers calls: q, k, v [B, H, N, D], mask [B, N] -> [B, N, H, Dv].

    attention_mask: of `_key_mask`, or the model's own with four axes.
    """
    for name in _UNSUPPORTED:
        if kwargs.get(name) is not None:
            raise ModelError(
                f"{type(module).__name__} gives its attention {name!r}, which edgeattn does not compute",
                where=place_of(module),
                fix="use another architecture",
            )
    causal, window = kwargs.get("is_causal"), kwargs.get("sliding_window")
    causal = bool(getattr(module, "is_causal", False) if causal is None else causal)
    if (calls := recording()) is not None:
        calls.note_pattern(module, attention_mask, causal, window)
    if attention_mask is None and not torch.compiler.is_compiling():  # what is causal or windowed is given a mask
        causal, window = False, None
    else:
        causal, window = pattern_of(module, causal, window)
    key_mask, bias = attention_mask, kwargs.get("position_bias")
    sinks = kwargs.get("s_aux") if kwargs.get("sinks") is None else kwargs["sinks"]
    if attention_mask is not None and not _is_key_mask(attention_mask):
        # Such a mask is all that tells the model's own attention what is seen, whatever the layer says of itself.
        variant, window = getattr(module, SLOT, None), None
        mask = _four_axes(module, attention_mask)
        key_mask, causal, added = split(mask, query.shape[0], causal=causal, variant=variant)
        bias = both(bias, added)
    out = attend(
        module,
        query,
        key,
        value,
        key_mask,
        query.shape[-1] ** -0.5 if scaling is None else scaling,
        causal=causal,
        window=window,
        bias=bias,
        softcap=kwargs.get("softcap"),
        sinks=sinks,
    )
    return out.transpose(1, 2).contiguous(), None


def _key_mask(
    attention_mask: Tensor | None = None,
    mask_function: Callable[..., Any] = bidirectional_mask_function,
    **sizes: Any,
) -> Tensor | None:
    """The key padding mask [B, N], in place of the N x N mask that transformers would make of `mask_function`.

    Raises ModelError where that would be more than causality, a window and padding.
    """
    if torch.compiler.is_compiling():  # what was found when the layers were found holds
        return None if attention_mask is None else attention_mask.bool()
    calls = recording()
    owner = f"{type(calls.within[-1]).__name__}'s" if calls is not None and calls.within else "its"
    causal, window = pattern(mask_function, owner)
    start, length = sizes.get("kv_offset", 0), sizes.get("kv_length")
    seen = sizes.get("q_offset", 0) + sizes.get("q_length", 0)
    if causal and length is not None and start + length != seen:
        raise ModelError(
            f"a key-value cache of {length} places holds {int(seen)} tokens, and edgeattn needs one that grows",
            fix='generate with cache_implementation="dynamic"',
        )
    if attention_mask is not None and start:  # a cache that has dropped what is out of the window
        attention_mask = attention_mask[:, start : start + length]
    if attention_mask is None and (causal or window is not None):  # no mask would mean that all is seen
        attention_mask = torch.ones(sizes["batch_size"], length, dtype=torch.bool, device=sizes.get("device"))
    mask = None if attention_mask is None else attention_mask.bool()
    if mask is not None and calls is not None:
        mask = mask.clone()  # bool() of a bool mask is the mask itself, which the model may use in other places too
        calls.masks[id(mask)] = mask, causal, window
    return mask


def _is_key_mask(mask: Tensor) -> bool:
    return mask.ndim == 2 and not mask.is_floating_point()


def _four_axes(module: nn.Module, mask: Tensor) -> Tensor:
    if mask.ndim not in (2, 4):
        raise ModelError(
            f"{type(module).__name__} gives its attention a mask with {mask.ndim} axes, which edgeattn does not read",
            where=place_of(module),
            fix="use another architecture",
        )
    return mask if mask.ndim == 4 else mask[None, None]


AttentionInterface.register(IMPLEMENTATION, _attention)
AttentionMaskInterface.register(IMPLEMENTATION, _key_mask)
