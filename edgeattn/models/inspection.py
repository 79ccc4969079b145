"""A model's attention layers, what they cost, and which variants each can have."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel

from edgeattn.attention.dense import Dense
from edgeattn.convert import fitting, survey
from edgeattn.convert.plan import PLAN_KEY
from edgeattn.models.checks import check_config
from edgeattn.models.example import example_inputs
from edgeattn.models.files import CONFIG
from edgeattn.models.reading import empty_model, models_fault


def inspect_model(folder: Path, *, length: int | None = None) -> dict[str, Any]:
    """Facts of the model in `folder`. Only its config is read: weights do not change the answer.

    Returns {architecture, model_type, parameters, flops, inputs, layers: [{index, name, kind, attention, heads,
    head_dim, tokens, causal, cross, bias, parameters, core_flops, flops, variants}], left_out: [{name, kind, reason}]
    of attention modules that cannot be replaced}. FLOPs are of one sample; a layer's "flops" are those of its
    attention module, "core_flops" those without its projections.
    Raises ModelError for a folder or architecture that cannot be loaded, and for a model without such layers.
    """
    config = check_config(folder / CONFIG)
    empty = empty_model(folder, AutoModel)
    with models_fault(folder / CONFIG):
        chosen = {choice["layer"]: choice["variant"] for choice in config.get(PLAN_KEY, {}).get("plan", ())}
        model = AutoModel.from_config(empty.config, trust_remote_code=False, dtype=torch.float32).eval()
        inputs = example_inputs(model, length=length)
        model.set_attn_implementation("eager")  # of products that the counter knows
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(**inputs)
    counts = counter.get_flop_counts()
    for parameter in model.parameters():  # a table of biases that starts at zero would look like no bias at all (Swin)
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.02)
    found = survey(model, inputs)
    return {
        "architecture": type(model).__name__,
        "model_type": model.config.model_type,
        "parameters": _parameters(model),
        "flops": counter.get_total_flops(),
        "inputs": {name: list(x.shape) for name, x in inputs.items()},
        "layers": [
            {
                "index": layer.index,
                "name": layer.name,
                "kind": layer.kind,
                "attention": chosen.get(layer.index, "dense"),
                "heads": layer.shape.heads,
                "head_dim": layer.shape.head_dim,
                "tokens": layer.length,
                "causal": layer.shape.causal,
                "cross": layer.cross,
                "bias": layer.bias,
                "parameters": _parameters(model.get_submodule(layer.name)),
                "core_flops": Dense.cost(Dense.Options(), layer.length, layer.shape).flops * layer.keys // layer.length,
                "flops": sum(counts.get(f"{type(model).__name__}.{layer.name}", {}).values()),
                "variants": fitting(layer),
            }
            for layer in found.layers
        ],
        "left_out": [asdict(each) for each in found.left_out],
    }


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
