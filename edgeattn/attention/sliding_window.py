"""Sliding-window attention: exact softmax over the near keys, plus a few tokens that see and are seen by all."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from edgeattn.attention.variant import Cost, Shape, Variant, VariantOptions, additive_mask, lowest


class SlidingWindowOptions(VariantOptions):
    window: int = Field(128, ge=2, le=65536, multiple_of=2, description="keys seen: half before, half after")
    global_tokens: int = Field(1, ge=0, le=128, description="leading tokens that attend to, and serve, all tokens")


class SlidingWindow(Variant):
    """Query i attends to key j where |i - j| <= window / 2, or where i or j is among the global tokens.

    Queries are cut into blocks of half a window; a block needs only its own keys and its two neighbours'.
    """

    name = "sliding_window"
    Options = SlidingWindowOptions
    source = "Beltagy et al. 2020, Longformer (arXiv 2004.05150), section 3.1"
    options: SlidingWindowOptions

    def reference(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
        n, g = q.shape[-2], self.options.global_tokens
        index = torch.arange(n, device=q.device)
        seen = (index[:, None] - index[None, :]).abs() <= self.options.window // 2
        seen = seen | (index[:, None] < g) | (index[None, :] < g)
        if key_mask is not None:
            seen = seen & key_mask[:, None, None, :]
        scores = q.float() @ k.float().mT * self.shape.scaling
        return scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(-1) @ v.float()

    def forward(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
        b, h, n, d = q.shape
        dv = v.shape[-1]
        half, g = self.options.window // 2, self.options.global_tokens
        blocks = (n + half - 1) // half
        tail = blocks * half - n
        q = q * self.shape.scaling

        queries = pad(q, (0, 0, 0, tail)).reshape(b, h, blocks, half, d)
        keys = _with_neighbours(pad(k, (0, 0, half, half + tail)).reshape(b, h, blocks + 2, half, d))
        values = _with_neighbours(pad(v, (0, 0, half, half + tail)).reshape(b, h, blocks + 2, half, dv))

        # A key counts in a window if it exists, is not padding, and is not already counted as a global one.
        exists = torch.ones_like(q[:, 0, :, 0], dtype=torch.bool) if key_mask is None else key_mask
        local = exists & (torch.arange(n, device=q.device) >= g)
        local = pad(local, (half, half + tail)).reshape(b, 1, blocks + 2, half, 1)
        local = _with_neighbours(local).squeeze(-1)[:, :, :, None, :]  # [B, 1, blocks, 1, 3 half]
        bias = torch.where(local & _band(half, q.device), 0.0, lowest(q.dtype)).to(q.dtype)
        scores = queries @ keys.mT + bias  # [B, H, blocks, half, 3 half]

        if g:
            key_bias = additive_mask(exists[:, :g], q.dtype)[:, :, None]
            scores = torch.cat([scores, queries @ k[:, :, None, :g].mT + key_bias], dim=-1)
        weights = scores.softmax(-1)
        out = weights[..., : 3 * half] @ values
        if g:
            out = out + weights[..., 3 * half :] @ v[:, :, None, :g]
        out = out.reshape(b, h, blocks * half, dv)[:, :, :n]
        if g:
            leading = q[:, :, :g] @ k.mT + additive_mask(exists, q.dtype)
            out = torch.cat([leading.softmax(-1) @ v, out[:, :, g:]], dim=-2)
        return out

    @classmethod
    def cost(cls, options: VariantOptions, length: int, shape: Shape) -> Cost:
        assert isinstance(options, SlidingWindowOptions)
        h, d, n = shape.heads, shape.head_dim, length
        seen = min(n, 3 * (options.window // 2)) + options.global_tokens
        return Cost(
            flops=4 * h * n * d * (seen + options.global_tokens),
            bytes=4 * h * n * (8 * d + 2 * seen),
        )


def _with_neighbours(blocks: Tensor) -> Tensor:
    """[B, H, blocks + 2, size, X] -> [B, H, blocks, 3 size, X]: each block with the one before and after it."""
    return torch.cat([blocks[:, :, :-2], blocks[:, :, 1:-1], blocks[:, :, 2:]], dim=3)


def _band(half: int, device: torch.device) -> Tensor:
    """[half, 3 half] bool: which of three blocks of keys lie within `half` of each query of the middle one."""
    query = torch.arange(half, device=device)[:, None] + half
    key = torch.arange(3 * half, device=device)[None, :]
    return (query - key).abs() <= half
