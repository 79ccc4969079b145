"""Puts the variants of a plan into a model.

Every Hugging Face architecture that dispatches attention through `AttentionInterface` works, with no code per
architecture: one function, registered as "edgeattn", finds the calling layer's own variant module and falls back to
dense attention. Layers are found by running the model once and noting which modules call it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

from edgeattn.attention import ATTENTION
from edgeattn.attention.dense import dense_attention
from edgeattn.attention.variant import Shape, Variant
from edgeattn.errors import ModelError, RecipeError

IMPLEMENTATION = "edgeattn"
PLAN_KEY = "edgeattn"  # the entry of a student's config that holds its plan
_SLOT = "edgeattn"  # the attribute of an attention module that holds its variant
# What some architectures give their attention that no code here computes: it would be left out without a word.
_UNSUPPORTED = ("softcap", "s_aux", "sinks")


@dataclass(frozen=True)
class Layer:
    """One attention layer, as seen when it ran."""

    index: int
    name: str  # qualified name of the attention module
    shape: Shape
    causal: bool
    cross: bool  # queries and keys of different lengths
    bias: bool  # adds a bias of relative positions to its scores


@dataclass(frozen=True)
class Choice:
    """The variant of one layer."""

    layer: int
    variant: str
    options: Mapping[str, bool | int | float | str]

    def document(self) -> dict[str, Any]:
        return {"layer": self.layer, "variant": self.variant, "options": dict(self.options)}


Plan = tuple[Choice, ...]

_CALLS: ContextVar[dict[nn.Module, Layer] | None] = ContextVar("calls", default=None)
_TRANSFER: ContextVar[list[Tensor] | None] = ContextVar("transfer", default=None)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls: q, k, v [B, H, N, D], mask [B, N] -> [B, N, H, Dv]."""
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    is_causal = kwargs.get("is_causal")
    causal = bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)
    bias = kwargs.get("position_bias")
    for name in _UNSUPPORTED:
        if kwargs.get(name) is not None:
            raise ModelError(
                f"{type(module).__name__} gives its attention {name!r}, which edgeattn does not compute",
                fix="use another architecture",
            )
    groups = query.shape[1] // key.shape[1]
    if groups > 1:  # grouped-query heads: each key and value head serves several queries'
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    calls = _CALLS.get()
    if calls is not None and module not in calls:  # a module that several layers share (ALBERT) is one layer
        calls[module] = Layer(
            index=len(calls),
            name="",
            shape=Shape(heads=query.shape[1], head_dim=query.shape[-1], scaling=scaling),
            causal=causal,
            cross=query.shape[-2] != key.shape[-2],
            bias=bias is not None,
        )

    def dense() -> Tensor:
        window = kwargs.get("sliding_window")
        return dense_attention(query, key, value, attention_mask, scaling, causal=causal, window=window, bias=bias)

    variant: Variant | None = getattr(module, _SLOT, None)
    losses = _TRANSFER.get()
    if variant is None:
        out = dense()
    elif losses is None:
        out = variant(query, key, value, attention_mask)
    else:
        # Attention transfer (LoLCATs): the variant learns the dense output from the teacher's own q, k, v, and the
        # dense output goes on to the next layer, so that one frozen pass trains every layer at once.
        with torch.no_grad():
            out = dense()
        error, target = variant(query.detach(), key.detach(), value.detach(), attention_mask) - out, out
        if attention_mask is not None:  # padding has no part in either
            error, target = (x * attention_mask[:, None, :, None] for x in (error, target))
        losses.append(error.square().mean() / target.square().mean().clamp_min(1e-9))
    return out.transpose(1, 2).contiguous(), None


def _key_mask(attention_mask: Tensor | None = None, **_: Any) -> Tensor | None:
    """The mask that variants get: the key padding mask [B, N] and never an N x N one."""
    return None if attention_mask is None else attention_mask.bool()


AttentionInterface.register(IMPLEMENTATION, _attention)
AttentionMaskInterface.register(IMPLEMENTATION, _key_mask)


@contextmanager
def transfer_losses() -> Iterator[list[Tensor]]:
    """Within the block, a forward pass appends one loss a converted layer: the variant's error against dense."""
    losses: list[Tensor] = []
    token = _TRANSFER.set(losses)
    try:
        yield losses
    finally:
        _TRANSFER.reset(token)


def find_layers(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> tuple[Layer, ...]:
    """The attention layers of `model`, in the order in which they run on `inputs`.

    Raises ModelError where the model does not dispatch attention through the interface.
    """
    model.set_attn_implementation(IMPLEMENTATION)
    calls: dict[nn.Module, Layer] = {}
    token = _CALLS.set(calls)
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        _CALLS.reset(token)
    if not calls:
        raise ModelError(
            f"{type(model).__name__} never calls the attention interface, so its attention cannot be replaced",
            fix="use an architecture whose attention dispatches through transformers.AttentionInterface",
        )
    names = {module: name for name, module in model.named_modules()}
    return tuple(replace(layer, name=names[module]) for module, layer in calls.items())


def make_plan(rules: Sequence[Any], layers: int) -> Plan:
    """The plan that a recipe's attention rules mean for a model of `layers` layers.

    Raises RecipeError for a layer that does not exist or that two rules claim.
    """
    chosen: dict[int, Choice] = {}
    for position, rule in enumerate(rules):
        for index in rule.indices(layers):
            where = f"attention[{position}]"
            if index >= layers:
                raise RecipeError(
                    f"layer {index} does not exist: the model has {layers} layers, 0 to {layers - 1}",
                    where=where,
                )
            if index in chosen:
                raise RecipeError(
                    f"layer {index} has {chosen[index].variant} already",
                    where=where,
                    fix="name each layer once",
                )
            chosen[index] = Choice(index, rule.variant, rule.options)
    return tuple(chosen[index] for index in sorted(chosen))


def plan_of(config: Any) -> Plan:
    """The plan in the config of a student. Raises ModelError where it has none."""
    entry = getattr(config, PLAN_KEY, None)
    if not entry:
        raise ModelError("its config has no edgeattn plan", fix="give a folder that edgeattn wrote")
    return tuple(Choice(**choice) for choice in entry["plan"])


def convert(model: PreTrainedModel, plan: Plan, inputs: Mapping[str, Tensor]) -> PreTrainedModel:
    """Puts the plan's variants into `model`, in place, and returns it.

    inputs: any small batch that the model accepts; it is run once to find the layers.
    Raises ModelError for a variant that cannot do what its layer needs.
    """
    layers = find_layers(model, inputs)
    for choice in plan:
        if choice.layer >= len(layers):
            raise ModelError(f"layer {choice.layer} does not exist: the model has {len(layers)} attention layers")
        if choice.variant == "dense":
            continue  # the fallback is dense, and also serves causal, cross and biased layers
        layer = layers[choice.layer]
        variant = ATTENTION[choice.variant]
        _check_fit(layer, variant)
        made = variant(layer.shape, variant.Options.model_validate(dict(choice.options)))
        model.get_submodule(layer.name).add_module(_SLOT, made)
    return model


def _check_fit(layer: Layer, variant: type[Variant]) -> None:
    where = f"layer {layer.index} ({layer.name})"
    if layer.cross:
        raise ModelError(f"{variant.name} cannot replace cross-attention", where=where, fix="leave this layer dense")
    if layer.bias:
        raise ModelError(
            f"{variant.name} has no place for this layer's bias of relative positions",
            where=where,
            fix="leave this layer dense",
        )
    if layer.causal and not variant.causal:
        able = [name for name in ATTENTION if ATTENTION[name].causal]
        remedy = f"use {' or '.join(able)}" if able else "leave this layer dense"
        raise ModelError(f"{variant.name} is bidirectional, and this layer is causal", where=where, fix=remedy)


def variants(model: nn.Module) -> list[Variant]:
    """The variant modules of a converted model."""
    return [module for module in model.modules() if isinstance(module, Variant)]
