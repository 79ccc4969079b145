"""A teacher's files, checked and copied, and the model they hold."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from edgeattn.errors import ModelError
from edgeattn.models.checks import WEIGHTS, check_digest, check_folder
from edgeattn.models.locate import FILES, locate
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
        _extend_positions(model, extend_positions)
    return model.eval()


def _extend_positions(model: PreTrainedModel, length: int) -> None:
    """Grows learned absolute position embeddings by copying them over and over (Longformer, section 5)."""
    embeddings = getattr(model, "embeddings", None)
    old = getattr(embeddings, "position_embeddings", None)
    if embeddings is None or not isinstance(old, nn.Embedding):
        raise ModelError(
            f"{type(model).__name__} has no learned position embeddings to extend",
            fix="drop model.extend_positions",
        )
    if length <= old.num_embeddings:
        return
    new = nn.Embedding(length, old.embedding_dim)
    repeats = -(-length // old.num_embeddings)
    new.weight.data = old.weight.data.repeat(repeats, 1)[:length].clone()
    embeddings.position_embeddings = new
    embeddings.register_buffer("position_ids", torch.arange(length)[None], persistent=False)
    embeddings.register_buffer("token_type_ids", torch.zeros(1, length, dtype=torch.long), persistent=False)
    model.config.max_position_embeddings = length
