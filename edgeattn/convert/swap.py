"""Finds a model's attention layers and puts the variants of a plan into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from edgeattn.attention import ATTENTION
from edgeattn.attention.variant import Variant
from edgeattn.convert.attend import SLOT, Layer, recorded_calls
from edgeattn.convert.interface import IMPLEMENTATION
from edgeattn.convert.plan import Plan
from edgeattn.errors import ModelError


def find_layers(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> tuple[Layer, ...]:
    """The attention layers of `model`, in the order in which they run on `inputs`.

    Raises ModelError where the model does not dispatch attention through the interface.
    """
    model.set_attn_implementation(IMPLEMENTATION)
    with recorded_calls() as calls, torch.no_grad():
        model(**inputs)
    if not calls:
        raise ModelError(
            f"{type(model).__name__} never calls the attention interface, so its attention cannot be replaced",
            fix="use an architecture whose attention dispatches through transformers.AttentionInterface",
        )
    names = {module: name for name, module in model.named_modules()}
    return tuple(replace(layer, name=names[module]) for module, layer in calls.items())


def convert(model: PreTrainedModel, plan: Plan, inputs: Mapping[str, Tensor]) -> PreTrainedModel:
    """Puts the plan's variants into `model`, in place, and returns it.

    inputs: any small batch that the model accepts; it is run once to find the layers.
    Raises ModelError for a layer that does not exist and a variant that cannot do what its layer needs.
    """
    layers = find_layers(model, inputs)
    for choice in plan:
        if choice.layer >= len(layers):
            raise ModelError(
                f"layer {choice.layer} does not exist: the model has {len(layers)} attention layers, "
                f"0 to {len(layers) - 1}"
            )
        if choice.variant == "dense":
            continue  # the fallback is dense, and also serves causal, cross and biased layers
        layer = layers[choice.layer]
        variant = ATTENTION[choice.variant]
        _check_fit(layer, variant)
        made = variant(layer.shape, variant.Options.model_validate(dict(choice.options)))
        model.get_submodule(layer.name).add_module(SLOT, made)
    return model


def obstacle(layer: Layer, variant: type[Variant]) -> str | None:
    """Why `variant` cannot replace the attention of `layer`; None where it can."""
    if variant.name == "dense":
        return None
    if layer.bias:
        return f"{variant.name} has no place for this layer's bias of relative positions"
    if layer.cross and not variant.cross:
        return f"{variant.name} cannot replace cross-attention"
    if layer.shape.causal and not variant.causal:
        return f"{variant.name} is bidirectional, and this layer is causal"
    if not layer.shape.causal and not variant.bidirectional:
        return f"{variant.name} is causal, and this layer is bidirectional"
    return None


def fitting(layer: Layer) -> list[str]:
    """The variants that can replace the attention of `layer`, without dense."""
    return [name for name in ATTENTION if name != "dense" and obstacle(layer, ATTENTION[name]) is None]


def _check_fit(layer: Layer, variant: type[Variant]) -> None:
    problem = obstacle(layer, variant)
    if problem is not None:
        able = fitting(layer)
        remedy = f"use {', '.join(able)}, or leave this layer dense" if able else "leave this layer dense"
        raise ModelError(problem, where=f"layer {layer.index} ({layer.name})", fix=remedy)


def variants(model: nn.Module) -> list[Variant]:
    """The variant modules of a converted model."""
    return [module for module in model.modules() if isinstance(module, Variant)]
