"""The one function that every attention layer of a converted model calls: its variant, or else dense attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from edgeattn.attention.dense import dense_attention
from edgeattn.attention.variant import Shape, Variant, lowest
from edgeattn.convert.decoding import decoding_now
from edgeattn.convert.layers import SLOT, Layer, place_of, recording
from edgeattn.convert.reduce import running
from edgeattn.errors import ModelError

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
    softcap: float | None = None,
    sinks: Tensor | None = None,
    cross: bool = False,
) -> Tensor:
    """The attention of the layer `module`: q [B, H, N, D], k, v [B, H or fewer, M, D], mask [B, M] -> [B, H, N, Dv].

    causal, window, bias, softcap, sinks: as the layer's own dense attention has them; see `dense_attention`. Variants
    that learn their scores (those not `biased`) replace softcap and sinks too.
    cross: keys and values come from another sequence, even where it is as long as this one.
    Raises ModelError where the layer has a variant that cannot do what this call asks for.
    """
    variant: Variant | None = getattr(module, SLOT, None)
    own_bias = bias
    scores = "soft cap" if softcap is not None else "attention sink" if sinks is not None else None
    if variant is not None:
        _check_call(module, variant, query, key, causal, window, bias, scores)
        if bias is not None and not torch.compiler.is_compiling():
            variant.gets_bias = True
    if (token := decoding_now()) is not None:
        _check_decoding(module, variant, bias, cross)
        return token.attend(variant, query, key, value, scaling, window=window, softcap=softcap, sinks=sinks)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:  # grouped-query heads: each key and value head serves several queries'
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    calls = recording()
    if calls is not None and module not in calls.layers:  # a module that several layers share (ALBERT) is one layer
        calls.layers[module] = Layer(
            index=len(calls.layers),
            name=calls.names[module],
            shape=Shape(heads=query.shape[1], head_dim=query.shape[-1], scaling=scaling, causal=causal),
            cross=cross or module in calls.cross or query.shape[-2] != key.shape[-2],
            bias=bias is not None,
            length=query.shape[-2],
            keys=key.shape[-2],
            kind=type(module).__name__,
            scores=scores,
            window=window,
        )

    run, key_weight = running(module), None
    if run is not None:  # tokens have been merged, or will be after this layer
        key_mask, key_weight = run.saw(key, key_mask)
        if run.tokens is not None and bias is not None:
            fact = "tokens have been merged before this layer, and its bias or mask still has a row for each"
            raise ModelError(fact, where=place_of(module), fix="give a key padding mask [B, N], or merge no tokens")
        if run.tokens is not None and window is not None:  # by distance in the text, not among merged tokens
            place = run.tokens.representative
            near = (place[:, None, :, None] - place[:, None, None]).abs() < window
            bias, window = torch.where(near, 0.0, lowest(query.dtype)), None
        if key_weight is not None:  # ToMe's proportional attention
            weight = key_weight.log()[:, None, None]
            bias = weight if bias is None else bias + weight

    def dense() -> Tensor:
        return dense_attention(
            query, key, value, key_mask, scaling,
            causal=causal, window=window, bias=bias, softcap=softcap, sinks=sinks,
        )  # fmt: skip

    losses = _TRANSFER.get()
    if variant is None:
        return dense()
    if losses is None:
        return _run(variant, query, key, value, key_mask, key_weight, own_bias)
    # Attention transfer (LoLCATs): the variant learns the dense output from the teacher's own q, k, v, and the
    # dense output goes on to the next layer, so that one frozen pass trains every layer at once.
    with torch.no_grad():
        out = dense()
    own_bias = None if own_bias is None else own_bias.detach()
    found = _run(variant, query.detach(), key.detach(), value.detach(), key_mask, key_weight, own_bias)
    error, target = found - out, out
    if key_mask is not None and key_mask.shape[-1] == out.shape[-2]:  # padding does not count
        error, target = (x * key_mask[:, None, :, None] for x in (error, target))
    losses.append(error.square().mean() / target.square().mean().clamp_min(1e-9))
    return out


def _run(
    variant: Variant,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    key_mask: Tensor | None,
    key_weight: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    if key_weight is not None and variant.weighs_keys:
        return variant(q, k, v, key_mask, key_weight)  # type: ignore[no-any-return]
    n, m = q.shape[-2], k.shape[-2]
    more = [] if bias is None else [bias.expand(*bias.shape[:2], n, m)]
    if variant.shape.causal and n != m:  # the rest came from a key-value cache: these are the last queries
        q, *more = (pad(x, (0, 0, m - n, 0)) for x in (q, *more))
        return variant(q, k, v, key_mask, *more)[..., m - n :, :]
    return variant(q, k, v, key_mask, *more)  # type: ignore[no-any-return]


def _check_call(
    module: nn.Module,
    variant: Variant,
    query: Tensor,
    key: Tensor,
    causal: bool,
    window: int | None,
    bias: Tensor | None,
    scores: str | None,
) -> None:
    """Raise ModelError where a call needs attention that the variant does not compute."""
    n, m = query.shape[-2], key.shape[-2]
    if bias is not None and not variant.biased:
        fact = f"{variant.name} cannot add the bias or mask that this layer was given"
        raise ModelError(fact, where=place_of(module), fix="give a key padding mask [B, N], or leave this layer dense")
    if scores and variant.biased:
        fact = f"{variant.name} does not compute the {scores} of this layer"
        raise ModelError(fact, where=place_of(module), fix="use a variant that learns its scores, or dense")
    if causal != variant.shape.causal and n > 1:
        was, now = ("causal", "bidirectional") if variant.shape.causal else ("bidirectional", "causal")
        fact = f"{variant.name} was put into a layer that was {was}, and this call is {now}"
        raise ModelError(fact, where=place_of(module), fix=f"convert the model with inputs that make it {now}")
    if window is not None and n != m and m >= window - 1 + n:
        fact = f"its key-value cache keeps only the last {window} tokens, and {variant.name} needs all of them"
        raise ModelError(fact, where=place_of(module), fix="generate with use_cache=False, or leave this layer dense")


def _check_decoding(module: nn.Module, variant: Variant | None, bias: Tensor | None, cross: bool) -> None:
    """Raise ModelError for a layer that cannot carry what it needs from token to token."""
    fix = "run the whole text at once"
    if variant is not None and type(variant).step is Variant.step:
        raise ModelError(f"{variant.name} has no recurrent step", where=place_of(module), fix=fix)
    if bias is not None:
        raise ModelError("a bias or mask of its own is added to its scores", where=place_of(module), fix=fix)
    if cross:
        raise ModelError("its keys come from another sequence", where=place_of(module), fix=fix)
    if running(module) is not None:
        raise ModelError("tokens are merged around this layer", where=place_of(module), fix=fix)


@contextmanager
def transfer_losses() -> Iterator[list[Tensor]]:
    """Within the block, a forward pass appends one loss per converted layer: the variant's error against dense."""
    losses: list[Tensor] = []
    token = _TRANSFER.set(losses)
    try:
        yield losses
    finally:
        _TRANSFER.reset(token)
