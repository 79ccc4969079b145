"""ReLU linear attention, with an optional small convolution of the values."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import conv2d

from edgeattn.attention.grid import from_grid, to_grid
from edgeattn.attention.linear import Linear, mixing_bytes, mixing_flops, promoted
from edgeattn.attention.variant import Cost, Shape, VariantOptions, mask_for


class ReluLinearOptions(VariantOptions):
    conv: Literal["none", "1d", "2d"] = Field(
        "none", description="convolution of the values that is added to the output: along the sequence, or on a grid"
    )
    conv_kernel: int = Field(
        3, ge=3, le=31, description="tokens that the convolution spans, odd; in both directions of a grid"
    )
    prefix_tokens: int = Field(0, ge=0, le=128, description="leading tokens with no place on the grid (CLS, registers)")
    grid_width: int | None = Field(None, ge=1, le=4096, description="tokens in a row of the grid, for conv 2d")

    @model_validator(mode="after")
    def _together(self) -> ReluLinearOptions:
        if self.conv_kernel % 2 == 0:
            raise ValueError(f"conv_kernel: {self.conv_kernel} has no middle; use {self.conv_kernel + 1}")
        if self.conv == "2d" and self.grid_width is None:
            raise ValueError("conv 2d needs grid_width: give the number of patches in a row of the image")
        return self


class ReluLinear(Linear):
    """phi(x) = relu(x). A query that shares no feature with any key gets 0 from the attention.

    The convolution is depth-wise with one kernel per head, shared by its channels, so that values may have any width.
    It starts at 0, so a converted model starts with the attention alone. It skips padding, and is left out where there
    are more or fewer keys than queries (cross-attention).
    """

    name = "relu_linear"
    Options = ReluLinearOptions
    source = (
        "Cai et al. 2022, EfficientViT (arXiv 2205.14756), section 3.1; the convolution of v from Han et al. 2023, "
        "FLatten Transformer (arXiv 2308.00442), equation 9, with Nystromformer's kernel per head (arXiv 2102.03902)"
    )
    causal = False  # the convolution looks both ways
    options: ReluLinearOptions

    def __init__(self, shape: Shape, options: ReluLinearOptions) -> None:
        super().__init__(shape, options)
        self.size = shape.head_dim
        if options.conv != "none":
            k = options.conv_kernel
            # Shaped as the weights of a convolution, which TensorRT needs as a constant of the graph.
            self.kernel = nn.Parameter(torch.zeros(shape.heads, 1, k, k if options.conv == "2d" else 1))

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        return (promoted(x).relu(),)

    def reference(
        self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None, key_weight: Tensor | None = None
    ) -> Tensor:
        out = super().reference(q, k, v, key_mask, key_weight)
        n, half = v.shape[-2], self.options.conv_kernel // 2
        if self.options.conv == "none" or q.shape[-2] != n:
            return out
        on_grid = self.options.conv == "2d"
        place = torch.arange(n, device=v.device) - (self.options.prefix_tokens if on_grid else 0)
        width = (self.options.grid_width if on_grid else 1) or 1
        row, column = place // width, place % width
        down, right = row - row[:, None], column - column[:, None]  # from each token to each other one
        near = (down.abs() <= half) & (right.abs() <= half) & (place >= 0) & (place[:, None] >= 0)
        kernel = self.kernel.float()[:, 0]  # [H, k, k or 1]
        middle = kernel.shape[-1] // 2
        taken = kernel[:, (down + half).clamp(0, 2 * half), (right + middle).clamp(0, 2 * middle)]
        seen = near if key_mask is None else near & key_mask[:, None, None, :]
        return out + (taken * seen) @ v.float()

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None, key_weight: Tensor | None = None
    ) -> Tensor:
        out = super().forward(q, k, v, key_mask, key_weight)
        if self.options.conv == "none" or q.shape[-2] != k.shape[-2]:
            return out
        mask = mask_for(key_mask, v)
        return out + self._convolved(v if mask is None else v * mask)

    def _convolved(self, v: Tensor) -> Tensor:
        """v: [B, H, N, Dv] -> the same shape, each head by its own kernel: heads are the channels."""
        half, kernel = self.options.conv_kernel // 2, self.kernel.to(v.dtype)
        if self.options.conv == "1d":
            return conv2d(v, kernel, padding=(half, 0), groups=self.shape.heads)
        leading, grid = to_grid(v, self.options.grid_width, self.options.prefix_tokens)
        # Rows of width * Dv numbers: the next token of a row is Dv numbers further, which is a dilation.
        dv = v.shape[-1]
        mixed = conv2d(grid.flatten(3), kernel, padding=(half, half * dv), dilation=(1, dv), groups=self.shape.heads)
        return from_grid(torch.zeros_like(leading), mixed.view(grid.shape), v.shape[-2])

    @classmethod
    def cost(cls, options: VariantOptions, length: int, shape: Shape) -> Cost:
        assert isinstance(options, ReluLinearOptions)
        d = shape.head_dim
        mixing = length, d, d, False
        taps = {"none": 0, "1d": options.conv_kernel, "2d": options.conv_kernel**2}[options.conv]
        flops = mixing_flops(*mixing) + 2 * length * d + 2 * length * d * taps
        moved = mixing_bytes(*mixing) + (0 if options.conv == "none" else 4 * 3 * length * d)
        return Cost(flops=shape.heads * flops, bytes=shape.heads * moved)
