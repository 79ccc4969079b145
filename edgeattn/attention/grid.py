"""Sequences that are images: tokens in rows of a grid, behind a few leading tokens (CLS, registers) outside it.

No function branches on a length, so a graph traced with a given width serves images of every height.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad


def to_grid(x: Tensor, width: int | None, prefix_tokens: int) -> tuple[Tensor, Tensor]:
    """x: [B, H, N, X] -> the leading tokens [B, H, prefix_tokens, X] and the others [B, H, rows, width, X], row by row.

    width: None for the smallest square that holds them, which fixes the length of a traced graph.
    The last row is filled up with zeros. There is always at least one row, if only of zeros.
    """
    leading, tokens = x[:, :, :prefix_tokens], x[:, :, prefix_tokens:]
    b, h, n, size = tokens.shape
    rows, width = grid_size(n, width)
    return leading, pad(tokens, (0, 0, 0, rows * width - n)).reshape(b, h, rows, width, size)


def grid_size(tokens: int, width: int | None) -> tuple[int, int]:
    """(rows, width) of the grid of `tokens` tokens; see `to_grid`."""
    if width is None:
        width = math.isqrt(max(int(tokens) - 1, 0)) + 1
    rows = (tokens + width - 1) // width
    return rows + 1 // (rows + 1), width  # max(rows, 1): a convolution over nothing is an error in every runtime


def from_grid(leading: Tensor, grid: Tensor, length: int) -> Tensor:
    """Undoes `to_grid`: [B, H, prefix_tokens, X] and [B, H, rows, width, X] -> [B, H, length, X]."""
    return torch.cat([leading, grid.flatten(2, 3)], dim=2)[:, :, :length]
