"""EfficientViT-B1 to B3 as published (Cai et al., ICCV 2023, arXiv 2205.14756), with random weights, to count them.

Its structure, from the paper and its repository: a stem, two stages of inverted residuals, two of EfficientViT modules
with ReLU linear attention at two scales, and a head. Batch norms are left out: they are folded into convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

EXPAND, CLASSES = 4, 1000


@dataclass(frozen=True)
class Size:
    """widths, depths: of the stem and the four stages. head_dim: of the attention. head: widths of the classifier."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    head_dim: int
    head: tuple[int, int]


SIZES = {
    "B1": Size((16, 32, 64, 128, 256), (1, 2, 3, 3, 4), 16, (1536, 1600)),
    "B2": Size((24, 48, 96, 192, 384), (1, 3, 4, 4, 6), 32, (2304, 2560)),
    "B3": Size((32, 64, 128, 256, 512), (1, 4, 6, 6, 9), 32, (2304, 2560)),
}


def efficientvit(name: str) -> nn.Module:
    """pixel_values [B, 3, H, W] -> logits [B, 1000]."""
    size = SIZES[name]
    layers: list[nn.Module] = [_conv(3, size.widths[0], 3, stride=2, act=True)]
    layers += [_Residual(_separable(size.widths[0])) for _ in range(size.depths[0])]
    for stage in (1, 2):
        before, width = size.widths[stage - 1], size.widths[stage]
        layers.append(_inverted(before, width, stride=2))
        layers += [_Residual(_inverted(width, width)) for _ in range(size.depths[stage] - 1)]
    for stage in (3, 4):
        before, width = size.widths[stage - 1], size.widths[stage]
        layers.append(_inverted(before, width, stride=2))
        for _ in range(size.depths[stage]):
            layers += [_Residual(_LinearAttention(width, size.head_dim)), _Residual(_inverted(width, width))]
    layers += [_conv(size.widths[-1], size.head[0], 1, act=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    layers += [nn.Linear(*size.head), nn.LayerNorm(size.head[1]), nn.Hardswish()]
    return nn.Sequential(*layers, nn.Linear(size.head[1], CLASSES)).eval()


def _conv(before: int, after: int, size: int, *, stride: int = 1, groups: int = 1, act: bool = False) -> nn.Module:
    conv = nn.Conv2d(before, after, size, stride, size // 2, groups=groups)
    return nn.Sequential(conv, nn.Hardswish()) if act else conv


def _separable(width: int) -> nn.Module:
    return nn.Sequential(_conv(width, width, 3, groups=width, act=True), _conv(width, width, 1))


def _inverted(before: int, after: int, *, stride: int = 1) -> nn.Module:
    inner = before * EXPAND
    return nn.Sequential(
        _conv(before, inner, 1, act=True),
        _conv(inner, inner, 3, stride=stride, groups=inner, act=True),
        _conv(inner, after, 1),
    )


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class _LinearAttention(nn.Module):
    """The paper's multi-scale ReLU linear attention: [B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim, inner = head_dim, 3 * width
        self.qkv = _conv(width, inner, 1)
        self.near = nn.Sequential(
            _conv(inner, inner, 5, groups=inner), _conv(inner, inner, 1, groups=3 * (width // head_dim))
        )
        self.out = _conv(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        qkv = self.qkv(x)
        q, k, v = torch.cat([qkv, self.near(qkv)], 1).reshape(b, -1, 3 * self.head_dim, h * w).split(self.head_dim, 2)
        v = functional.pad(v, (0, 0, 0, 1), value=1.0)
        mixed = (v @ functional.relu(k).transpose(-1, -2)) @ functional.relu(q)
        mixed = mixed[:, :, :-1] / (mixed[:, :, -1:] + 1e-15)
        out: Tensor = self.out(mixed.reshape(b, -1, h, w))
        return out
