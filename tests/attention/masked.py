"""Torch's own attention under an explicit N x N mask: what every windowed form must equal."""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from edgeattn.attention import ATTENTION
from edgeattn.attention.variant import Shape


def variant(name, causal=False, heads=2, d=8, **options):
    kind = ATTENTION[name]
    return kind(Shape(heads=heads, head_dim=d, scaling=d**-0.5, causal=causal), kind.Options(**options)).eval()


def inputs(n, *, b=2, h=2, d=8, dv=None, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(b, h, n, size, generator=generator, dtype=dtype) for size in (d, d, dv or d)]


def left_padded(rows, n):
    """[len(rows), n] bool: one sequence per row, with that many tokens at the end."""
    return torch.arange(n) >= n - torch.tensor(rows)[:, None]


def right_padded(rows, n):
    return left_padded(rows, n).flip(1)


def assert_is_attention(made, seen, n, mask=None, tolerance=1e-5):
    """seen: function of (query, key), two positions, or [N, N] or [B, 1 or H, N, N] bool; mask: [B, N] bool."""
    q, k, v = inputs(n, dv=5, seed=n)
    if callable(seen):
        seen = torch.tensor([[bool(seen(i, j)) for j in range(n)] for i in range(n)])
    real = torch.ones(2, n, dtype=torch.bool) if mask is None else mask
    expected = scaled_dot_product_attention(q, k, v, attn_mask=seen & real[:, None, None])
    found = made(q, k, v, mask)
    assert torch.isfinite(found).all()
    found, expected = (x.transpose(1, 2)[real] for x in (found, expected))
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def assert_left_padding_changes_nothing(made, n, padding):
    """Compares with the same tokens behind `padding` others that a mask hides."""
    q, k, v = inputs(n)
    expected = made(q, k, v)
    longer = [torch.cat([torch.full((2, 2, padding, x.shape[-1]), 50.0), x], 2) for x in (q, k, v)]
    found = made(*longer, left_padded([n, n], n + padding))[:, :, padding:]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
