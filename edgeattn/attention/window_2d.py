"""Attention inside windows of an image's grid of patches."""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor

from edgeattn.attention.blocks import attended, hidden, mix, pick, see_all, take, take_pairs, where_seen
from edgeattn.attention.grid import grid_size
from edgeattn.attention.variant import Cost, Shape, Variant, VariantOptions


class Window2dOptions(VariantOptions):
    window: int = Field(7, ge=1, le=256, description="patches along each side of a window")
    shift: int = Field(
        0,
        ge=0,
        le=255,
        description="patches by which windows are moved down and right: half a window in every second layer, so that "
        "patches split by one layer's windows meet in the next",
    )
    prefix_tokens: int = Field(
        1,
        ge=0,
        le=128,
        description="leading tokens with no place on the grid (CLS, registers): they see all tokens, and all see them",
    )
    grid_width: int | None = Field(
        None, ge=1, le=4096, description="patches in a row of the image; when absent, that of a square one"
    )

    @model_validator(mode="after")
    def _shift_inside(self) -> Window2dOptions:
        if self.shift >= self.window:
            raise ValueError(f"shift {self.shift} must be below window {self.window}")
        return self


class Window2d(Variant):
    """A patch attends to the patches of its own window and to the prefix tokens; these attend to all.

    Windows do not overlap. With a shift, windows at the border are cut off. Swin rolls the image instead and masks the
    patches that meet through the roll, which leaves the same pairs. Patches are counted by row from the end of the
    prefix, padding included. Without `grid_width` the grid is the smallest square that holds the patches of the
    sequence, and a graph serves only the length that it was traced with.
    """

    name = "window_2d"
    Options = Window2dOptions
    source = "Liu et al. 2021, Swin Transformer (arXiv 2103.14030), section 3.2"
    dynamic_length = False
    biased = True
    rotation_invariant = True
    options: Window2dOptions

    def reference(
        self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        n, w, prefix = q.shape[-2], self.options.window, self.options.prefix_tokens
        _, width = grid_size(torch.sym_max(n - prefix, 0), self.options.grid_width)
        patch = torch.arange(n, device=q.device) - prefix
        moved = w - self.options.shift
        down, right = (patch // width + moved) // w, (patch % width + moved) // w
        seen = (down[:, None] == down) & (right[:, None] == right) | (patch < 0) | (patch < 0)[:, None]
        if key_mask is not None:
            seen = seen & key_mask[:, None, None, :]
        scores = q.float() @ k.float().mT * self.shape.scaling
        if bias is not None:
            scores = scores + bias.float()
        return scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(-1) @ v.float()

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        n, w, prefix, device = q.shape[2], self.options.window, self.options.prefix_tokens, q.device
        rows, width = grid_size(torch.sym_max(n - prefix, 0), self.options.grid_width)
        cut_off = (w - self.options.shift) % w  # rows of the first windows that lie above the image
        down, across = (rows + cut_off + w - 1) // w, (width + cut_off + w - 1) // w
        y = (torch.arange(down, device=device) * w - cut_off)[:, None] + torch.arange(w, device=device)
        x = (torch.arange(across, device=device) * w - cut_off)[:, None] + torch.arange(w, device=device)
        y, x = y[:, None, :, None], x[None, :, None, :]
        cells = torch.where((y >= 0) & (x >= 0) & (x < width), prefix + y * width + x, n)
        cells = cells.flatten(2, 3).flatten(0, 1)  # [windows, w * w]: positions in the sequence, n where none is

        leading = torch.arange(prefix, device=device)[None]
        keys = torch.cat([leading.expand(cells.shape[0], -1), cells], 1)
        seen = attended(key_mask, keys, n)[:, None, :, None]  # [B or 1, 1, windows, 1, M]
        added = hidden(seen) if bias is None else where_seen(take_pairs(bias, cells, keys), seen)
        out = mix(take(q, cells), take(k, keys), take(v, keys), added, self.shape.scaling).flatten(2, 3)

        # Every token finds its row by arithmetic: behind the prefix, window by window.
        if prefix:
            added = None if bias is None else pick(bias, leading)
            out = torch.cat([see_all(pick(q, leading), k, v, key_mask, self.shape.scaling, added), out], 2)
        token = torch.arange(n, device=device)
        y, x = (token - prefix) // width + cut_off, (token - prefix) % width + cut_off
        row = prefix + ((y // w) * across + x // w) * (w * w) + (y % w) * w + x % w
        return out.index_select(2, torch.where(token < prefix, token, row))

    @classmethod
    def cost(cls, options: VariantOptions, length: int, shape: Shape) -> Cost:
        """Counts the patches themselves, although windows that the border cuts cost as much as whole ones."""
        assert isinstance(options, Window2dOptions)
        h, d, n, prefix = shape.heads, shape.head_dim, length, options.prefix_tokens
        seen = options.window**2 + prefix
        return Cost(flops=4 * h * n * d * (seen + prefix), bytes=4 * h * n * (10 * d + 2 * seen + 2 * prefix))
