"""A teacher's files, checked and copied, and the model they hold."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import PreTrainedModel

from edgeattn.models.checks import WEIGHTS, check_digest, check_folder
from edgeattn.models.locate import FILES, locate
from edgeattn.models.positions import extend_positions as grow
from edgeattn.recipe.schema import PretrainedModel
from edgeattn.tasks import Task


def fetch_teacher(spec: PretrainedModel, root: Path, out: Path) -> str:
    """Copies the teacher's files to `out`, checked, and returns the digest of its weights."""
    source = locate(spec, root)
    check_folder(source)
    digest = check_digest(source / WEIGHTS, spec.digest)
    for name in FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)  # follows the links of a hub cache
    return digest


def load_teacher(folder: Path, task: Task, *, extend_positions: int | None = None) -> PreTrainedModel:
    """The dense model of a checked folder, in evaluation mode."""
    model = task.auto_model.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
    )
    if extend_positions:
        grow(model, extend_positions)
    return model.eval()
