"""Whether a model's weights fit its config: every tensor that the task uses is there, and has its shape."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from edgeattn.errors import ModelError
from edgeattn.models.example import example_inputs
from edgeattn.models.files import CONFIG
from edgeattn.models.reading import models_fault
from edgeattn.tasks import Task

_SHOWN = 3


def check_fit(model: PreTrainedModel, info: Mapping[str, Any], task: Task, folder: Path) -> None:
    """Raise ModelError naming the tensors that are missing, mis-shaped or without a place in the model.

    info: transformers' loading info. A pooler or head that the task does not use may be missing, and tensors of
    modules that the model does not have, such as another task's head, may be there.
    """
    missing = sorted(info["missing_keys"])
    if missing:
        used = _used(model, task, folder)
        missing = [name for name in missing if name in used]
    unexpected = sorted(name for name in info["unexpected_keys"] if _inside(model, name))
    shapes = sorted(info["mismatched_keys"])
    said = [f"{_count(missing)} missing: {_names(missing)}"] if missing else []
    if unexpected:
        said.append(f"{_count(unexpected)} without a place in the model: {_names(unexpected)}")
    said += [f"{name} is {list(found)}, not {list(wanted)}" for name, found, wanted in shapes[:_SHOWN]]
    if said:
        raise ModelError(
            f"its weights do not fit its {CONFIG}: {'; '.join(said)}",
            where=str(folder),
            fix=f"give the {CONFIG} that was saved with these weights, or save the model again",
        )


def _used(model: PreTrainedModel, task: Task, folder: Path) -> set[str]:
    """The parameters that the task's outputs come from, and all buffers."""
    with models_fault(folder), torch.enable_grad():
        inputs = {name: x for name, x in example_inputs(model).items() if name in task.inputs}
        parameters = {name: x for name, x in model.named_parameters() if x.requires_grad}
        found = task.exportable(model)(**inputs)
        total = torch.stack([found[name].sum() for name in task.outputs]).sum()
        gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    unused = {name for name, gradient in zip(parameters, gradients, strict=True) if gradient is None}
    return set(model.state_dict()) - unused


def _inside(model: PreTrainedModel, name: str) -> bool:
    """Whether a tensor of this name belongs to a module that the model has: a layer too many, not another head."""
    base = model.base_model
    inner = name.removeprefix(f"{model.base_model_prefix}.")
    return inner.partition(".")[0] in dict(base.named_children())


def _count(names: list[str]) -> str:
    return "1 tensor is" if len(names) == 1 else f"{len(names)} tensors are"


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
