"""Hugging Face models: one function, registered with `AttentionInterface`, serves every architecture that uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import bidirectional_mask_function, causal_mask_function

from edgeattn.convert.attend import SLOT, attend, place_of, recording
from edgeattn.convert.masks import both, split
from edgeattn.errors import ModelError

IMPLEMENTATION = "edgeattn"
_PATTERN = "edgeattn_pattern"
# What some architectures give their attention that no code here computes: it would be left out without a word.
_UNSUPPORTED = ("softcap", "s_aux", "sinks", "indices", "block_indices", "cu_seq_lens_q")


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
                where=place_of(module),
                fix="use another architecture",
            )
    causal, window = kwargs.get("is_causal"), kwargs.get("sliding_window")
    causal = bool(getattr(module, "is_causal", False) if causal is None else causal)
    causal, window = _as_masked(module, attention_mask, causal, window)
    key_mask, bias = attention_mask, kwargs.get("position_bias")
    if attention_mask is not None and not _is_key_mask(attention_mask):
        # A mask of the model's own is all that tells its dense attention what is seen, whatever is_causal says.
        variant = getattr(module, SLOT, None)
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
    )
    return out.transpose(1, 2).contiguous(), None


def _key_mask(
    attention_mask: Tensor | None = None,
    mask_function: Callable[..., Any] = bidirectional_mask_function,
    **sizes: Any,
) -> Tensor | None:
    """The mask that variants get: the key padding mask [B, N] and never an N x N one.

    mask_function: what transformers would make the N x N mask of.
    Raises ModelError where that is more than causality, a window and padding.
    """
    causal, window = _pattern(mask_function)
    start, length = sizes.get("kv_offset", 0), sizes.get("kv_length")
    if not torch.compiler.is_compiling():
        seen = sizes.get("q_offset", 0) + sizes.get("q_length", 0)
        if causal and length is not None and start + length != seen:
            raise ModelError(
                f"a key-value cache of {length} places holds {int(seen)} tokens, and edgeattn needs one that grows",
                fix='generate with cache_implementation="dynamic"',
            )
        if attention_mask is not None and start:  # a cache that has dropped what is out of the window
            attention_mask = attention_mask[:, start : start + length]
    calls = recording()
    if calls is not None and attention_mask is None and (causal or window is not None):
        attention_mask = torch.ones(sizes["batch_size"], length, dtype=torch.bool, device=sizes.get("device"))
    mask = None if attention_mask is None else attention_mask.bool()
    if calls is not None and mask is not None:
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


def _as_masked(module: nn.Module, mask: Tensor | None, causal: bool, window: int | None) -> tuple[bool, int | None]:
    """(causal, window) of a layer, from what it says and from the mask that it would have been given.

    Some layers leave it to their mask (Qwen2-MoE). As their masks are never made, what they would be is kept with the
    module while the model is looked through.
    """
    calls = recording()
    known = calls.masks.get(id(mask)) if calls is not None else None
    if known is not None and known[1:] != (causal, window):
        setattr(module, _PATTERN, known[1:])
    return getattr(module, _PATTERN, (causal, window))


def _pattern(function: Callable[..., Any]) -> tuple[bool, int | None]:
    """(causal, window as in `dense_attention`) of a mask function of transformers, read from what it closes over."""
    if function in (causal_mask_function, bidirectional_mask_function):
        return function is causal_mask_function, None
    parts = _closed_over(function).get("mask_functions", ())
    names = [part.__qualname__.partition(".")[0] for part in parts]
    if len(parts) == 2 and names[0].startswith("sliding_window"):
        reach = int(_closed_over(parts[0])["sliding_window"])
        return _pattern(parts[1])[0], reach + 1 if names[0] == "sliding_window_bidirectional_overlay" else reach
    # Of position ids that are traced transformers cannot know that they are those of one sequence; they are.
    if names[:1] == ["packed_sequence_mask_function"] and torch.compiler.is_compiling():
        return _pattern(_closed_over(parts[1])["mask_function"])
    what = " and ".join(names) or function.__qualname__.partition(".")[0]
    raise ModelError(
        f"its attention mask is made by {what}, which is more than causality, a window and padding",
        fix="give an attention_mask [B, N] and no packed sequences, or use another architecture",
    )


def _closed_over(function: Callable[..., Any]) -> dict[str, Any]:
    names = function.__code__.co_freevars
    return {name: cell.cell_contents for name, cell in zip(names, function.__closure__ or (), strict=True)}


AttentionInterface.register(IMPLEMENTATION, _attention)
AttentionMaskInterface.register(IMPLEMENTATION, _key_mask)
