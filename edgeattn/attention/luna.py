"""LUNA: linear attention whose features are learned functions of scalars."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import silu

from edgeattn.attention.hedgehog import identity_like
from edgeattn.attention.linear import Linear, mixing_bytes, mixing_flops, promoted
from edgeattn.attention.variant import Cost, Shape, VariantOptions

# Limits of the logarithm of a feature: fp32 holds sums of scores up to e^60, and no score is below e^-20, far above 0.
_LOWEST, _HIGHEST = -10.0, 30.0


class LunaOptions(VariantOptions):
    projections: int | None = Field(
        None, ge=4, le=512, description="scalars that a query or key is projected to, head_dim when absent"
    )
    channels: int = Field(2, ge=1, le=8, description="learned functions of each scalar, and so features per scalar")
    hidden: int = Field(
        4, ge=2, le=64, multiple_of=2, description="hidden units of the network that computes the functions"
    )


class Luna(Linear):
    """Experimental. phi(x) = [psi_l(w_i x + b_i)] for all projections i and channels l.

    psi is one small network from a scalar to `channels` positive numbers, shared by all projections, heads, queries
    and keys. Each head has its own projections, the same for queries and keys, so that phi(q) phi(k) is a kernel.
    The paper makes psi positive with a ReLU; here it is the exp of the network, which starts as u and -u: an untrained
    layer is Hedgehog's exp form. The paper's envelope h(x) is 1, as in its listing.
    """

    name = "luna"
    Options = LunaOptions
    source = "Shahbazi et al. 2025, LUNA: Linear Universal Neural Attention (arXiv 2512.08061), equation 11, listing 1"
    options: LunaOptions

    def __init__(self, shape: Shape, options: LunaOptions) -> None:
        super().__init__(shape, options)
        projections, channels, hidden = options.projections or shape.head_dim, options.channels, options.hidden
        self.size = projections * channels
        start = identity_like(shape.head_dim, projections) * shape.scaling**0.5
        self.projection = nn.Parameter(start.repeat(shape.heads, 1, 1))  # [H, D, P]
        self.projection_bias = nn.Parameter(torch.zeros(shape.heads, 1, projections))
        # silu(u + t) - silu(-u - t) = u + t: a pair of units is the identity; each pair has its own place.
        sign = torch.ones(hidden // 2, 2) * torch.tensor([1.0, -1.0])
        place = torch.linspace(-2.0, 2.0, hidden // 2) if hidden > 2 else torch.zeros(1)
        slope = torch.tensor([(1 - 2 * (at % 2)) / (1 + at // 2) for at in range(channels)])  # 1, -1, 1/2, -1/2, ...
        self.inner = nn.Parameter(sign.flatten())
        self.inner_bias = nn.Parameter((sign * place[:, None]).flatten())
        self.outer = nn.Parameter(sign.flatten()[:, None] * slope / (hidden // 2))
        self.outer_bias = nn.Parameter(torch.zeros(channels))

    def query(self, x: Tensor) -> Tensor:
        return x @ self.projection.to(x.dtype) + self.projection_bias.to(x.dtype)

    def key(self, x: Tensor) -> Tensor:
        return self.query(x)

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        x = promoted(x)
        inner, inner_bias, outer, outer_bias = (
            weight.to(x.dtype) for weight in (self.inner, self.inner_bias, self.outer, self.outer_bias)
        )
        hidden = silu(x.unsqueeze(-1) * inner + inner_bias)  # [..., P, hidden]
        logarithm = (hidden @ outer + outer_bias).clamp(_LOWEST, _HIGHEST)
        return (logarithm.exp().flatten(-2),)

    @classmethod
    def cost(cls, options: VariantOptions, length: int, shape: Shape) -> Cost:
        assert isinstance(options, LunaOptions)
        h, d, n = shape.heads, shape.head_dim, length
        p = options.projections or d
        mixing = n, p * options.channels, d, shape.causal
        maps = 2 * n * p * (2 * d + options.hidden * (7 + 2 * options.channels) + 5 * options.channels)
        moved = mixing_bytes(*mixing) + 4 * 2 * 2 * n * p * options.hidden  # hidden units too, written and read
        return Cost(flops=h * (maps + mixing_flops(*mixing)), bytes=h * moved)
