"""What every attention layer of a converted model calls: its own variant, or dense attention where it has none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from edgeattn.attention.dense import dense_attention
from edgeattn.attention.variant import Shape, Variant

SLOT = "edgeattn"  # the attribute of an attention module that holds its variant


@dataclass(frozen=True)
class Layer:
    """One attention layer, as seen when it ran."""

    index: int
    name: str  # qualified name of the attention module
    shape: Shape
    cross: bool  # keys and values come from another sequence than the queries
    bias: bool  # adds a bias of relative positions to its scores
    length: int  # queries that it saw
    kind: str  # the class of the attention module


_CALLS: ContextVar[dict[nn.Module, Layer] | None] = ContextVar("calls", default=None)
_TRANSFER: ContextVar[list[Tensor] | None] = ContextVar("transfer", default=None)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_mask: Tensor | None,
    scaling: float,
    *,
    causal: bool = False,
    window: int | None = None,
    bias: Tensor | None = None,
    cross: bool = False,
) -> Tensor:
    """The attention of the layer `module`: q [B, H, N, D], k, v [B, H or fewer, M, D], mask [B, M] -> [B, H, N, Dv].

    causal, window, bias: what the layer's own dense attention does; see `dense_attention`.
    cross: keys and values come from another sequence, even where it is as long as this one.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:  # grouped-query heads: each key and value head serves several queries'
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    calls = _CALLS.get()
    if calls is not None and module not in calls:  # a module that several layers share (ALBERT) is one layer
        calls[module] = Layer(
            index=len(calls),
            name="",
            shape=Shape(heads=query.shape[1], head_dim=query.shape[-1], scaling=scaling, causal=causal),
            cross=cross or query.shape[-2] != key.shape[-2],
            bias=bias is not None,
            length=query.shape[-2],
            kind=type(module).__name__,
        )

    def dense() -> Tensor:
        return dense_attention(query, key, value, key_mask, scaling, causal=causal, window=window, bias=bias)

    variant: Variant | None = getattr(module, SLOT, None)
    losses = _TRANSFER.get()
    if variant is None:
        return dense()
    if losses is None:
        return _run(variant, query, key, value, key_mask)
    # Attention transfer (LoLCATs): the variant learns the dense output from the teacher's own q, k, v, and the
    # dense output goes on to the next layer, so that one frozen pass trains every layer at once.
    with torch.no_grad():
        out = dense()
    error, target = _run(variant, query.detach(), key.detach(), value.detach(), key_mask) - out, out
    if key_mask is not None and key_mask.shape[-1] == out.shape[-2]:  # padding has no part in either
        error, target = (x * key_mask[:, None, :, None] for x in (error, target))
    losses.append(error.square().mean() / target.square().mean().clamp_min(1e-9))
    return out


def _run(variant: Variant, q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None) -> Tensor:
    earlier = k.shape[-2] - q.shape[-2]
    if variant.shape.causal and earlier:  # the rest came from a key-value cache: these are the last queries
        return variant(pad(q, (0, 0, earlier, 0)), k, v, key_mask)[..., earlier:, :]
    return variant(q, k, v, key_mask)  # type: ignore[no-any-return]


@contextmanager
def recorded_calls() -> Iterator[dict[nn.Module, Layer]]:
    """Within the block, every attention layer that runs is noted, in order; its name is not known yet."""
    calls: dict[nn.Module, Layer] = {}
    token = _CALLS.set(calls)
    try:
        yield calls
    finally:
        _CALLS.reset(token)


@contextmanager
def transfer_losses() -> Iterator[list[Tensor]]:
    """Within the block, a forward pass appends one loss a converted layer: the variant's error against dense."""
    losses: list[Tensor] = []
    token = _TRANSFER.set(losses)
    try:
        yield losses
    finally:
        _TRANSFER.reset(token)
