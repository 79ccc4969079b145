"""Hedgehog: linear attention with learned feature maps that mimic softmax."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from edgeattn.attention.linear import Linear, mixing_bytes, mixing_flops, promoted
from edgeattn.attention.variant import Cost, Shape, VariantOptions

# Limit of the exponent in the map "exp". A sum of scores is at most e^60 times features times tokens, which fp32 holds
# for a million tokens. A score is at least twice the number of features, since cosh is at least 1, so no shift against
# underflow is needed. A shift would not work either: one per key does not cancel, a common one depends on future keys.
_HIGHEST = 30.0


class HedgehogOptions(VariantOptions):
    feature_dim: int | None = Field(
        None,
        ge=4,
        le=512,
        description="size of the learned projection, head_dim when absent; features are twice it",
    )
    feature_map: Literal["softmax", "exp", "joint"] = Field(
        "softmax",
        description="function of the learned projection and its negative: softmax of each, exp of each, or one softmax "
        "of both",
    )


class Hedgehog(Linear):
    """phi(x) = [softmax(W x), softmax(-W x)], attention = phi(q) (phi(k)^T v) / phi(q) (phi(k)^T 1).

    W is learned per head, one for queries and one for keys. Cost grows linearly with the sequence.
    feature_map "exp" is the Hedgehog paper's [exp(W x), exp(-W x)], with W x clamped to [-30, 30]; "joint" is
    flash-linear-attention's softmax over [W x, -W x] at once, with its factor 2 absorbed by W.
    """

    name = "hedgehog"
    Options: ClassVar[type[VariantOptions]] = HedgehogOptions
    source = (
        "Zhang et al. 2024, The Hedgehog & the Porcupine (arXiv 2402.04347), equation 6; "
        "softmax over features from Zhang et al. 2024, LoLCATs (arXiv 2410.10254), appendix A"
    )
    options: HedgehogOptions

    def __init__(self, shape: Shape, options: HedgehogOptions) -> None:
        super().__init__(shape, options)
        projected = options.feature_dim or shape.head_dim
        self.size = 2 * projected
        start = identity_like(shape.head_dim, projected) * shape.scaling**0.5
        self.query_map = nn.Parameter(start.repeat(shape.heads, 1, 1))  # [H, D, F]
        self.key_map = nn.Parameter(start.repeat(shape.heads, 1, 1))

    def query(self, x: Tensor) -> Tensor:
        return x @ self.query_map.to(x.dtype)

    def key(self, x: Tensor) -> Tensor:
        return x @ self.key_map.to(x.dtype)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        x = promoted(x)
        if self.options.feature_map == "exp":
            x = x.clamp(-_HIGHEST, _HIGHEST)
            return x.exp(), (-x).exp()
        if self.options.feature_map == "joint":
            return (torch.cat([x, -x], dim=-1).softmax(-1),)
        return x.softmax(-1), (-x).softmax(-1)

    @classmethod
    def cost(cls, options: VariantOptions, length: int, shape: Shape) -> Cost:
        assert isinstance(options, HedgehogOptions)
        h, d, n = shape.heads, shape.head_dim, length
        f = options.feature_dim or d
        maps = 2 * 2 * n * d * f + 2 * 10 * n * 2 * f  # both projections, about ten operations per feature
        mixing = n, 2 * f, d, shape.causal
        return Cost(flops=h * (maps + mixing_flops(*mixing)), bytes=h * mixing_bytes(*mixing))


def identity_like(rows: int, columns: int) -> Tensor:
    """[rows, columns] with orthonormal rows or columns: the identity where it is square."""
    if rows == columns:
        return torch.eye(rows)
    basis = torch.empty(rows, columns)
    generator = torch.Generator().manual_seed(rows * 1009 + columns)
    return nn.init.orthogonal_(basis, generator=generator)
