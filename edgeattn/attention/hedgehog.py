"""Hedgehog: linear attention with learned feature maps that mimic softmax."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from edgeattn.attention.variant import Cost, Shape, Variant, VariantOptions, mask_for

# Keeps a fully padded row at 0 / eps = 0. Features are positive and sum to 2, so no other row comes near it.
_EPS = 1e-6


class HedgehogOptions(VariantOptions):
    feature_dim: int | None = Field(
        None,
        ge=4,
        le=512,
        description="size of the learned projection, head_dim when absent; features are twice it",
    )


class Hedgehog(Variant):
    """phi(x) = [softmax(W x), softmax(-W x)], attention = phi(q) (phi(k)^T v) / phi(q) (phi(k)^T 1).

    W is learned per head, one for queries and one for keys. Cost grows linearly with the sequence.
    """

    name = "hedgehog"
    Options = HedgehogOptions
    source = (
        "Zhang et al. 2024, The Hedgehog & the Porcupine (arXiv 2402.04347), equation 6; "
        "softmax over features from Zhang et al. 2024, LoLCATs (arXiv 2410.10254), appendix A"
    )

    def __init__(self, shape: Shape, options: HedgehogOptions) -> None:
        super().__init__(shape, options)
        features = options.feature_dim or shape.head_dim
        start = _identity_like(shape.head_dim, features) * shape.scaling**0.5
        self.query_map = nn.Parameter(start.repeat(shape.heads, 1, 1))  # [H, D, F]
        self.key_map = nn.Parameter(start.repeat(shape.heads, 1, 1))

    def features(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """x: [B, H, N, D], weight: [H, D, F] -> the two positive halves of the features, each [B, H, N, F], fp32."""
        projected = (x @ weight.to(x.dtype)).float()
        return projected.softmax(-1), (-projected).softmax(-1)

    def reference(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
        query = torch.cat(self.features(q.float(), self.query_map), dim=-1)
        key = torch.cat(self.features(k.float(), self.key_map), dim=-1)
        scores = query @ key.mT
        if key_mask is not None:
            scores = scores * key_mask[:, None, None, :]
        return scores @ v.float() / scores.sum(-1, keepdim=True).clamp_min(_EPS)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
        # The halves are mixed one by one and added: joining them first would copy every feature once more, which
        # costs ONNX Runtime 10 % of MiniLM at N = 2048. For the same reason the mask goes onto v, not onto the keys.
        mask = mask_for(key_mask, v)
        ones = torch.ones_like(v[..., :1]) if mask is None else mask
        value = (v if mask is None else v * mask).float()
        # Both reductions run over N, in fp32 and as means: sums overflow fp16 from a few thousand tokens.
        share = 1.0 / k.shape[-2]
        numerator = denominator = torch.zeros((), device=v.device)
        pairs = zip(self.features(q, self.query_map), self.features(k, self.key_map), strict=True)
        for query, key in pairs:
            numerator = numerator + query @ (key.mT @ value * share)  # [B, H, F, Dv] between the products
            denominator = denominator + query @ (key.mT @ ones.float() * share)  # [B, H, F, 1]
        return (numerator / denominator.clamp_min(_EPS)).to(v.dtype)

    @classmethod
    def cost(cls, options: VariantOptions, length: int, shape: Shape) -> Cost:
        assert isinstance(options, HedgehogOptions)
        h, d, n = shape.heads, shape.head_dim, length
        f = options.feature_dim or d
        maps = 2 * 2 * n * d * f + 2 * 10 * n * 2 * f  # both projections, about ten operations a feature
        mixing = 2 * 2 * n * 2 * f * (d + 1)
        return Cost(flops=h * (maps + mixing), bytes=4 * h * (4 * n * d + 4 * n * 2 * f))


def _identity_like(rows: int, columns: int) -> Tensor:
    """[rows, columns] with orthonormal rows or columns: the identity where it is square."""
    if rows == columns:
        return torch.eye(rows)
    basis = torch.empty(rows, columns)
    generator = torch.Generator().manual_seed(rows * 1009 + columns)
    return nn.init.orthogonal_(basis, generator=generator)
