"""A student on disk: a Hugging Face folder whose config also holds the plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, PreTrainedModel

from edgeattn.convert import IMPLEMENTATION, PLAN_KEY, Plan, convert, plan_of
from edgeattn.models.checks import WEIGHTS
from edgeattn.tasks import Task


def save_student(model: PreTrainedModel, plan: Plan, folder: Path) -> None:
    """Writes config.json (with the plan) and model.safetensors to `folder`."""
    config = model.config.__class__.from_dict(model.config.to_dict())
    setattr(config, PLAN_KEY, {"plan": [choice.document() for choice in plan]})
    config.save_pretrained(folder)
    # One copy of each: tied weights would make safetensors refuse, and the loader ties them again.
    tensors = {name: tensor.detach().contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def load_student(folder: Path, task: Task, inputs: Mapping[str, Tensor]) -> PreTrainedModel:
    """The student saved in `folder`, in evaluation mode. inputs: a small batch, which finds the layers again."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    plan = plan_of(config)
    model = task.auto_model.from_config(config, attn_implementation=IMPLEMENTATION, dtype=torch.float32)
    convert(model.eval(), plan, inputs)
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model.eval()
