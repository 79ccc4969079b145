"""Dense softmax attention: the control, and the attention of layers that no rule names."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from edgeattn.attention.lowering import allowed
from edgeattn.attention.variant import Cost, Shape, Variant, VariantOptions, additive_mask, lowest

FUSED = "com.microsoft::MultiHeadAttention"
CACHED = "com.microsoft::GroupQueryAttention"


def dense_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    key_mask: Tensor | None,
    scaling: float,
    *,
    causal: bool = False,
    window: int | None = None,
    bias: Tensor | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """softmax(scaling q k^T + bias + mask) v.

    q: [B, H, N, D]   k: [B, H, M, D]   v: [B, H, M, Dv]   key_mask: [B, M] bool   returns [B, H, N, Dv]
    causal: the last query sees every key, the one before it one fewer, and so on.
    window: keys at this distance and beyond are not seen (ModernBERT).
    bias: [1 or B, H, N, M], relative positions (T5).
    softcap: scores s become softcap tanh(s / softcap) before bias and mask (Gemma 2).
    sinks: [H] or [B, H, N, 1], one more score per query that takes its share of the softmax and adds nothing (gpt-oss).
    """
    plain = window is None and bias is None and softcap is None and sinks is None
    if allowed(FUSED) and plain and (not causal or q.shape[-2] == k.shape[-2]):
        return _fused(q, k, v, key_mask, scaling, causal)
    mask = None if key_mask is None else additive_mask(key_mask, q.dtype)
    if causal or window is not None:
        n, m = q.shape[-2], k.shape[-2]
        age = torch.arange(m - n, m, device=q.device)[:, None] - torch.arange(m, device=q.device)
        seen = age >= 0 if causal else torch.ones_like(age, dtype=torch.bool)
        if window is not None:
            seen = seen & (age.abs() < window)
        unseen = torch.where(seen, 0.0, lowest(q.dtype)).to(q.dtype)
        mask = unseen if mask is None else torch.minimum(mask, unseen)
    if bias is not None:
        mask = bias.to(q.dtype) if mask is None else mask + bias.to(q.dtype)
    if sinks is not None:  # a key of zeros, whose score is all bias, with a value of zeros
        (b, h, n, _), m = q.shape, k.shape[-2]
        mask = q.new_zeros(()) if mask is None else mask
        column = (sinks[:, None, None] if sinks.ndim == 1 else sinks).expand(b, h, n, 1)
        mask = torch.cat([mask.expand(b, h, n, m), column.to(mask.dtype)], -1)
        k, v = pad(k, (0, 0, 0, 1)), pad(v, (0, 0, 0, 1))
    if softcap is not None:
        scores = softcap * torch.tanh(q @ k.mT * (scaling / softcap))
        scores = scores if mask is None else scores + mask
        return scores.softmax(-1, dtype=torch.promote_types(q.dtype, torch.float32)).to(v.dtype) @ v
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)


def all_seen(
    q: Tensor, k: Tensor, v: Tensor, scaling: float, *, softcap: float | None = None, sinks: Tensor | None = None
) -> Tensor:
    """`dense_attention` of queries that see all keys, for a few queries and many keys, such as a cache.

    A graph of torch's own attention scales the keys, and copies them to transpose them; this one reads them once.
    sinks: [H] or [1, H, N, 1].
    """
    scores = (q * scaling) @ k.mT
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if sinks is not None:
        column = sinks[:, None, None] if sinks.ndim == 1 else sinks
        scores = torch.cat([scores, column.to(scores.dtype).expand(*scores.shape[:-1], 1)], -1)
    weights = scores.softmax(-1, dtype=torch.promote_types(q.dtype, torch.float32)).to(v.dtype)
    return (weights if sinks is None else weights[..., :-1]) @ v


def cached(
    q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, positions: Tensor, scaling: float
) -> tuple[Tensor, Tensor, Tensor]:
    """ONNX Runtime's GroupQueryAttention of one token: its output [B, H, 1, D], and the cache with its row.

    q: [B, H, 1, D]   k, v: [B, G, 1, D]   keys, values: the cache, [B, G, M, D]   positions: [B, 1], the same for all
    The runtime may write the row into the cache that it was given, which may have more rows: then nothing is copied.
    On a CPU it takes 1.4 x less time at 2048 tokens than the two products and the copy of the cache.
    """
    (b, h, _, d), (groups, m) = q.shape, keys.shape[1:3]
    size = b, groups, m + 1, d
    last = positions[:, 0].to(torch.int32)
    out, keys, values = torch.onnx.ops.symbolic_multi_out(
        CACHED,
        [*(x.transpose(1, 2).flatten(2) for x in (q, k, v)), keys, values, last, last[0] + 1],
        {"num_heads": h, "kv_num_heads": groups, "scale": float(scaling)},
        dtypes=(v.dtype,) * 3,
        shapes=((b, 1, h * d), size, size),
        version=1,
    )
    return out.view(b, 1, h, d).transpose(1, 2), keys, values


def _fused(q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None, scaling: float, causal: bool) -> Tensor:
    """ONNX Runtime's MultiHeadAttention: 1.2 to 1.6 times faster on a CPU than MatMul, Softmax, MatMul."""
    b, h, n, _ = q.shape
    inputs: list[Tensor | None] = [x.transpose(1, 2).flatten(2) for x in (q, k, v)]
    if key_mask is not None:
        inputs += [None, key_mask.to(torch.int32)]
    out = torch.onnx.ops.symbolic(
        FUSED,
        inputs,
        {"num_heads": h, "scale": float(scaling), "unidirectional": int(causal)},
        dtype=v.dtype,
        shape=(b, n, h * v.shape[-1]),
        version=1,
    )
    return out.view(b, n, h, v.shape[-1]).transpose(1, 2)


class Dense(Variant):
    name = "dense"
    Options = VariantOptions
    causal = True
    cross = True
    biased = True
    rotation_invariant = True
    source = "Vaswani et al. 2017, Attention Is All You Need, equation 1"

    @property
    def operators(self) -> frozenset[str]:
        return frozenset({FUSED})

    def reference(
        self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        scores = q.float() @ k.float().transpose(-1, -2) * self.shape.scaling
        if bias is not None:
            scores = scores + bias.float()
        lowest = torch.finfo(scores.dtype).min
        if key_mask is not None:
            scores = scores.masked_fill(~key_mask[:, None, None, :], lowest)
        if self.shape.causal:
            future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
            scores = scores.masked_fill(future, lowest)
        return scores.softmax(-1) @ v.float()

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        return dense_attention(q, k, v, key_mask, self.shape.scaling, causal=self.shape.causal, bias=bias)

    @classmethod
    def cost(cls, options: VariantOptions, length: int, shape: Shape) -> Cost:
        h, d, n = shape.heads, shape.head_dim, length
        return Cost(flops=4 * h * n * n * d, bytes=4 * h * (4 * n * d + 2 * n * n))
