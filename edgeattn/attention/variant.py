"""The contract of an attention variant."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn


class VariantOptions(BaseModel):
    """Options of a variant, as a recipe gives them: closed, strict, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Shape:
    """The facts of its layer that a variant needs."""

    heads: int
    head_dim: int
    scaling: float  # the factor that the model's own dense attention multiplies q k^T with
    causal: bool = False  # a token sees only itself and earlier tokens


@dataclass(frozen=True)
class Cost:
    """Cost of one layer's attention core for one sequence, without its projections."""

    flops: int
    bytes: int


State = tuple[Tensor, ...]  # of a causal variant, carried from token to token; its size is constant


class Variant(nn.Module):
    """An attention: q, k, v in, mixed v out.

    A subclass is one file: its options, the plain form `reference`, the fast form `forward` and its cost.
    `shape.causal` says whether the layer is causal; a variant that can be causal follows it and has a `step`.
    """

    name: ClassVar[str]
    Options: ClassVar[type[VariantOptions]]
    source: ClassVar[str]  # paper and equation
    bidirectional: ClassVar[bool] = True
    causal: ClassVar[bool] = False
    cross: ClassVar[bool] = False  # keys and values may come from another sequence, of another length
    dynamic_length: ClassVar[bool] = True  # one exported graph serves every length
    # `forward` takes key_weight [B, N], fp32: how many tokens each key stands for once tokens are merged. Without it,
    # merged keys count once.
    weighs_keys: ClassVar[bool] = False
    # Queries and keys count through their products only, so it does not matter where rotary positions start.
    rotation_invariant: ClassVar[bool] = False
    # `reference` and `forward` take bias [1 or B, 1 or H, N, N] last: added to the scores, learned (T5) or hiding
    # pairs with very negative values (Swin). A recurrent `step` has none.
    biased: ClassVar[bool] = False

    def __init__(self, shape: Shape, options: VariantOptions) -> None:
        super().__init__()
        self.shape = shape
        self.options = options
        self.gets_bias = False  # whether its layer has given it a bias: a trace cannot tell one from a padding mask

    @property
    def operators(self) -> frozenset[str]:
        """Fused operators of runtimes that this layer's graph uses where `lowering` allows them."""
        return frozenset()

    @abstractmethod
    def reference(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """The plain form in fp32, written as an N x N map: it defines what the variant computes.

        q, k: [B, H, N, D]   v: [B, H, N, Dv]   key_mask: [B, N] bool, True = attend
        returns [B, H, N, Dv], fp32
        """

    @abstractmethod
    def forward(self, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """The fast form. Shapes as in `reference`; the result has the dtype of v."""

    def initial_state(self, batch: int, value_dim: int) -> State:
        """The state for the first call of `step`, fp32. Causal variants only."""
        raise TypeError(f"{self.name} has no recurrent step")

    def step(self, q: Tensor, k: Tensor, v: Tensor, state: State) -> tuple[Tensor, State]:
        """The next token of a causal layer: the output of `forward` for the last token of the sequence so far.

        q, k: [B, H, 1, D]   v: [B, H, 1, Dv]   returns [B, H, 1, Dv] and the next state, of the same shapes
        """
        raise TypeError(f"{self.name} has no recurrent step")

    @classmethod
    @abstractmethod
    def cost(cls, options: VariantOptions, length: int, shape: Shape) -> Cost:
        """Floating-point operations and bytes moved (fp32) of the core for one sequence of `length` tokens."""

    def transfer_parameters(self) -> list[nn.Parameter]:
        """The parameters that attention transfer trains: those that the teacher does not have."""
        return list(self.parameters())


def mask_for(key_mask: Tensor | None, like: Tensor) -> Tensor | None:
    """key_mask [B, N] as a factor [B, 1, N, 1] of 0 and 1 in the dtype of `like`."""
    return None if key_mask is None else key_mask[:, None, :, None].to(like.dtype)


def lowest(dtype: torch.dtype) -> float:
    """Added to scores that must not count: low enough that softmax makes them 0, and finite.

    Half of the lowest number, since a score on top of the lowest overflows fp16 to -inf, and softmax turns a row of
    -inf into NaN. For float64 it is that of fp32, because torch.where makes its constants in fp32.
    """
    return float(max(torch.finfo(dtype).min, torch.finfo(torch.float32).min) / 2)


def additive_mask(key_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """key_mask [B, N] as a term [B, 1, 1, N]: 0 where attended, `lowest` elsewhere."""
    return torch.where(key_mask[:, None, None, :], 0.0, lowest(dtype)).to(dtype)
