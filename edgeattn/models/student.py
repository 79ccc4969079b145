"""A student on disk: its weights, and a config with its plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedModel

from edgeattn.convert import IMPLEMENTATION, PLAN_KEY, Plan, convert, plan_of
from edgeattn.convert.probe import run_once
from edgeattn.models.checks import check_config
from edgeattn.models.files import CONFIG, WEIGHTS


def save_student(model: nn.Module, plan: Plan, folder: Path) -> None:
    """Writes model.safetensors and config.json to `folder`: the model's config, if it has one, with the plan."""
    entry = {"plan": [choice.document() for choice in plan]}
    if isinstance(model, PreTrainedModel):
        config = model.config.__class__.from_dict(model.config.to_dict())
        setattr(config, PLAN_KEY, entry)
        config.save_pretrained(folder)
    else:
        (folder / CONFIG).write_text(json.dumps({PLAN_KEY: entry}, indent=1) + "\n", encoding="utf-8")
    # Copies, because safetensors refuses tied weights; the loader ties them again.
    tensors = {name: tensor.detach().contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def load_student(folder: Path, made_by: Any, inputs: Mapping[str, Tensor]) -> Any:
    """The student saved in `folder`, in evaluation mode.

    made_by: a transformers model class or Auto class; for a plain PyTorch model, a function that makes the dense model,
    whose weights are then replaced. inputs: a small batch, to find the attention layers with.
    """
    plan = plan_of(check_config(folder / CONFIG))
    # The first is a method of model classes, the second of Auto classes.
    make = getattr(made_by, "_from_config", None) or getattr(made_by, "from_config", None)
    if make is None:
        model = made_by()
    else:
        config_class = getattr(made_by, "config_class", None) or AutoConfig
        config = config_class.from_pretrained(folder, local_files_only=True)
        model = make(config, attn_implementation=IMPLEMENTATION, dtype=torch.float32)
    convert(model.eval(), plan, inputs)
    model.load_state_dict(load_file(folder / WEIGHTS))
    # Once more with its own weights: a learned bias that was zero until now is one that a graph must have too.
    run_once(model, inputs, what="the example inputs", fix="save the student again")
    return model.eval()
