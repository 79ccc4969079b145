"""Key masks of every kind that attention must handle."""

from __future__ import annotations

import torch

KINDS = ("none", "right", "left", "random", "empty row")


def key_mask(kind, b, n):
    """[B, N] bool, True = attend, of one of KINDS; B is at most 3."""
    if kind == "none":
        return None
    if kind == "random":
        return torch.rand(b, n, generator=torch.Generator().manual_seed(n)) < 0.6
    lengths = torch.tensor([n, max(1, n // 2), 0 if kind == "empty row" else 1])[:b]
    mask = torch.arange(n) < lengths[:, None]
    return mask.flip(1) if kind == "left" else mask
