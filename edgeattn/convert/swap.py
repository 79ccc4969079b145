"""Finds a model's attention layers and puts the variants of a plan into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from torch import Tensor, nn
from transformers import PreTrainedModel

from edgeattn.attention import ATTENTION, REDUCERS
from edgeattn.attention.token_merging import TokenMerging
from edgeattn.attention.variant import Variant
from edgeattn.convert.attend import SLOT, Layer, recorded_calls
from edgeattn.convert.interface import IMPLEMENTATION
from edgeattn.convert.modules import adopt
from edgeattn.convert.plan import Plan
from edgeattn.convert.probe import run_once
from edgeattn.convert.reduce import reduce
from edgeattn.errors import ModelError

Model = TypeVar("Model", bound=nn.Module)


def find_layers(model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Layer, ...]:
    """The attention layers of `model`, in the order in which they run on `inputs`.

    Those are of transformers models whose attention dispatches through its interface, `nn.MultiheadAttention` and
    timm's `Attention`, wherever they lie. Raises ModelError where there are none.
    """
    for part in _pretrained(model):
        part.set_attn_implementation(IMPLEMENTATION)
    adopt(model)
    with recorded_calls(model) as calls:
        run_once(
            model, inputs, what="the example inputs with edgeattn's attention",
            fix="if it runs on them with its own, it computes with its attention mask: use another architecture",
        )  # fmt: skip
    if not calls.layers:
        raise _without_layers(model)
    return tuple(calls.layers.values())


def _pretrained(module: nn.Module) -> Iterator[PreTrainedModel]:
    """The outermost transformers models in `module`."""
    if isinstance(module, PreTrainedModel):
        yield module
    else:
        for child in module.children():
            yield from _pretrained(child)


def _without_layers(model: nn.Module) -> ModelError:
    kind = type(model).__name__
    own = sorted({type(part).__name__ for part in model.modules() if "attention" in type(part).__name__.lower()})
    its = f": {', '.join(own)} computes its own" if own else ""
    if isinstance(model, PreTrainedModel):
        return ModelError(
            f"{kind} never calls the attention interface, so its attention cannot be replaced{its}",
            fix="use an architecture whose attention dispatches through transformers.AttentionInterface; those with "
            "ALiBi (Bloom, MPT, Falcon) do not",
        )
    return ModelError(
        f"{kind} has no attention that edgeattn can replace{its}",
        fix="build it of torch.nn.MultiheadAttention, timm.layers.Attention or a transformers model",
    )


def convert(model: Model, plan: Plan, inputs: Mapping[str, Tensor]) -> Model:
    """Puts the plan's variants and reducers into `model`, in place, and returns it.

    inputs: any small batch that the model accepts; it is run once to find the layers.
    Raises ModelError for a layer that does not exist and what cannot do what its layer needs.
    """
    layers = find_layers(model, inputs)
    reducers: dict[int, TokenMerging] = {}
    for choice in plan:
        if choice.layer >= len(layers):
            raise ModelError(
                f"layer {choice.layer} does not exist: the model has {len(layers)} attention layers, "
                f"0 to {len(layers) - 1}"
            )
        options = dict(choice.options)
        if choice.variant in REDUCERS:
            reducer = REDUCERS[choice.variant]
            reducers[choice.layer] = reducer(reducer.Options.model_validate(options))
            continue
        if choice.variant == "dense":
            continue  # the fallback is dense, and also serves causal, cross and biased layers
        layer = layers[choice.layer]
        variant = ATTENTION[choice.variant]
        _check_fit(layer, variant)
        made = variant(layer.shape, variant.Options.model_validate(options))
        made.place = layer.place  # for errors in later calls
        model.get_submodule(layer.name).add_module(SLOT, made)
    if reducers:
        reduce(model, layers, reducers, inputs)
    return model


def obstacle(layer: Layer, variant: type[Variant]) -> str | None:
    """Why `variant` cannot replace the attention of `layer`; None where it can."""
    if variant.name == "dense":
        return None
    if layer.bias:
        return f"{variant.name} has no place for this layer's bias of relative positions, or mask of its own"
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
        raise ModelError(problem, where=layer.place, fix=remedy)


def variants(model: nn.Module) -> list[Variant]:
    """The variant modules of a converted model."""
    return [module for module in model.modules() if isinstance(module, Variant)]
