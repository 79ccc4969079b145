"""Finds a model's attention layers and puts the variants of a plan into them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor, nn
from transformers import PreTrainedModel

from edgeattn.attention import ATTENTION, REDUCERS
from edgeattn.attention.token_merging import TokenMerging
from edgeattn.attention.variant import Variant
from edgeattn.convert.interface import IMPLEMENTATION
from edgeattn.convert.layers import SLOT, Calls, Layer, recorded_calls
from edgeattn.convert.left_out import LeftOut, warn_of, without_layers
from edgeattn.convert.left_padding import watch
from edgeattn.convert.modules import adopt
from edgeattn.convert.plan import Plan
from edgeattn.convert.probe import run_once
from edgeattn.convert.reduce import reduce
from edgeattn.errors import ModelError

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Survey:
    """The attention of a model, as it ran once."""

    layers: tuple[Layer, ...]  # in the order in which they ran
    left_out: tuple[LeftOut, ...]  # attention that cannot be replaced, since it never calls `attend`


def find_layers(model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Layer, ...]:
    """The layers of `survey`."""
    return survey(model, inputs).layers


def survey(model: nn.Module, inputs: Mapping[str, Tensor]) -> Survey:
    """The attention layers of `model`, in the order in which they run on `inputs`, and what cannot be replaced.

    Layers are those of transformers models whose attention dispatches through its interface, `nn.MultiheadAttention`
    and timm's `Attention`, wherever they lie. Raises ModelError where there are none.
    """
    for part in _pretrained(model):
        part.set_attn_implementation(IMPLEMENTATION)
    adopt(model)
    with recorded_calls(model) as calls:
        try:
            run_once(
                model, inputs, what="the example inputs with edgeattn's attention", within=calls.within,
                fix="check that it runs on them with its own attention",
            )  # fmt: skip
        except ModelError as error:
            if error.__cause__ is not None:  # what the model itself raised, and not a refusal of `attend`
                _check_masks(calls, reversed(calls.within), error)
            raise
    config = getattr(model, "config", None)
    others = calls.left_out()
    left_out = tuple(LeftOut.of(module, name, config) for module, name in others.items())
    _check_masks(calls, others)
    if not calls.layers:
        raise without_layers(model, left_out)
    return Survey(tuple(calls.layers.values()), left_out)


def _check_masks(calls: Calls, modules: Iterable[nn.Module], cause: ModelError | None = None) -> None:
    """Raise ModelError where one of these modules was given a mask of edgeattn's and is no layer that calls `attend`.

    Such a mask has two axes: it breaks an attention that adds it to its scores, or hides nothing there.
    """
    for module in modules:
        if calls.ran.get(module) and module not in calls.layers:
            raise ModelError(
                f"{type(module).__name__} computes with the attention mask by itself, and edgeattn has only key masks",
                where=calls.names[module],
                fix="use another architecture",
            ) from cause


def _pretrained(module: nn.Module) -> Iterator[PreTrainedModel]:
    """The outermost transformers models in `module`."""
    if isinstance(module, PreTrainedModel):
        yield module
    else:
        for child in module.children():
            yield from _pretrained(child)


def convert(model: Model, plan: Plan, inputs: Mapping[str, Tensor]) -> Model:
    """Puts the plan's variants and reducers into `model`, in place, and returns it.

    inputs: any small batch that the model accepts; it is run once to find the layers.
    Logs a warning where some of the model's attention cannot be replaced. Raises ModelError for a layer that does not
    exist, and for a variant or reducer that cannot do what its layer needs.
    """
    found = survey(model, inputs)
    layers = found.layers
    warn_of(type(model).__name__, found.left_out)
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
        made.gets_bias = layer.bias
        model.get_submodule(layer.name).add_module(SLOT, made)
    if reducers:
        reduce(model, layers, reducers, inputs)
    for part in _pretrained(model):
        watch(part)
    return model


def obstacle(layer: Layer, variant: type[Variant]) -> str | None:
    """Why `variant` cannot replace the attention of `layer`; None where it can."""
    if variant.name == "dense":
        return None
    if layer.bias and not variant.biased:
        return f"{variant.name} cannot add this layer's bias of relative positions or mask of its own"
    if layer.scores and variant.biased:
        return f"{variant.name} does not compute the {layer.scores} of this layer"
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
