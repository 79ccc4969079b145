"""Plain PyTorch models: `nn.MultiheadAttention`, and with it torch's transformer layers, and timm's `Attention`.

Such a module gets a subclass of its own class, which computes q, k and v with the module's parameters and calls
`attend`. Its state dict keeps its names. Dropout of attention weights is left out: variants have no such weights.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from edgeattn.convert.attend import attend
from edgeattn.convert.layers import SLOT
from edgeattn.convert.masks import both, split
from edgeattn.errors import ModelError


def adopt(model: nn.Module) -> None:
    """Lets every `nn.MultiheadAttention` and timm `Attention` in `model` call `attend`, in place.

    Subclasses are left alone, since they may compute something else. Raises ModelError for options that `attend` lacks.
    """
    timm: Any = _timm_attention()
    for name, module in model.named_modules():
        if type(module) is nn.MultiheadAttention:
            _check(name, module)
            module.__class__ = MultiheadAttention
        elif timm is not None and type(module) is timm:
            module.__class__ = _adopted_timm(timm)  # type: ignore[arg-type]
        elif isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False  # only its fused path can read nested tensors


def _check(name: str, module: nn.MultiheadAttention) -> None:
    for option, used in (("add_bias_kv", module.bias_k is not None), ("add_zero_attn", module.add_zero_attn)):
        if used:
            raise ModelError(
                f"MultiheadAttention with {option} attends to a key that is no token, which edgeattn does not compute",
                where=name,
                fix=f"build it without {option}",
            )


class MultiheadAttention(nn.MultiheadAttention):
    """`nn.MultiheadAttention` through `attend`."""

    # Where it is True, nn.TransformerEncoderLayer takes a fused path that never calls this module.
    _qkv_same_embed_dim = property(lambda self: False)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """As the base class, except that the second result, the weights, is always None."""
        cross = query is not key
        batched = query.dim() == 3
        sequences = [x if batched else x[None] for x in (query, key, value)]
        if batched and not self.batch_first:
            sequences = [x.transpose(0, 1) for x in sequences]
        if not batched and key_padding_mask is not None:
            key_padding_mask = key_padding_mask[None]
        heads = [
            linear(x, weight, bias).unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)
            for x, weight, bias in zip(sequences, *self._projections(), strict=True)
        ]
        variant, batch = getattr(self, SLOT, None), sequences[0].shape[0]
        key_mask, bias = None, None
        if attn_mask is not None and is_causal and torch.compiler.is_compiling():
            attn_mask = None  # the caller says that it is causal, and said so when the layers were found
        elif attn_mask is not None:
            mask = _four_axes(attn_mask, self.num_heads)
            key_mask, is_causal, bias = split(mask, batch, causal=is_causal, variant=variant)
        if key_padding_mask is not None:
            mask = _attended(key_padding_mask)[:, None, None]
            own_mask, _, own_bias = split(mask, batch, causal=is_causal, variant=variant)
            key_mask, bias = both(key_mask, own_mask), both(bias, own_bias)
        out = attend(
            self, heads[0], heads[1], heads[2], key_mask, self.head_dim**-0.5, causal=is_causal, bias=bias, cross=cross
        )
        out = self.out_proj(out.transpose(1, 2).flatten(2))
        if not batched:
            return out[0], None
        return (out if self.batch_first else out.transpose(0, 1)), None

    def _projections(self) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
        """(weights, biases) of q, k and v."""
        weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        if self.in_proj_weight is not None:
            weights = self.in_proj_weight.chunk(3)
        return weights, (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)


def _attended(mask: Tensor) -> Tensor:
    """torch's mask as one of ours: its bool masks are True where a key is hidden, its float masks are added."""
    return ~mask if mask.dtype == torch.bool else mask


def _four_axes(attn_mask: Tensor, heads: int) -> Tensor:
    """[N, M] or [B H, N, M] as [1, 1, N, M] or [B, H, N, M]."""
    mask = _attended(attn_mask)
    return mask[None, None] if mask.ndim == 2 else mask.unflatten(0, (-1, heads))


def _timm_attention() -> Any:
    """timm's class, or None where timm was not imported, since then no model has it."""
    for name in ("timm.layers.attention", "timm.models.vision_transformer"):
        found = getattr(sys.modules.get(name), "Attention", None)
        if found is not None:
            return found
    return None


@functools.cache
def _adopted_timm(timm: Any) -> type[nn.Module]:
    def forward(self: Any, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        parts = [part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1)]
        q, k, v = self.q_norm(parts[0]), self.k_norm(parts[1]), parts[2]
        key_mask, bias = None, None
        if attn_mask is not None:
            mask = attn_mask[(None,) * (4 - attn_mask.ndim)]
            variant = getattr(self, SLOT, None)
            key_mask, is_causal, bias = split(mask, x.shape[0], causal=is_causal, variant=variant)
        out = attend(self, q, k, v, key_mask, self.scale, causal=is_causal, bias=bias)
        out = out.transpose(1, 2).flatten(2)
        if (norm := getattr(self, "norm", None)) is not None:  # newer versions of timm
            out = norm(out)
        if (gate := getattr(self, "gate", None)) is not None:
            out = out * gate(x).sigmoid()
        return self.proj_drop(self.proj(out))  # type: ignore[no-any-return]

    return type(timm.__name__, (timm,), {"forward": forward, "__doc__": timm.__doc__})
