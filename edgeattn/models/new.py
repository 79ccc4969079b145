"""A small teacher, trained from scratch on the recipe's own labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import ViTConfig, ViTForImageClassification

from edgeattn.data.load import load_rows
from edgeattn.distill import train_classifier
from edgeattn.metrics import accuracy
from edgeattn.progress import Progress
from edgeattn.recipe.schema import NewViT, Recipe
from edgeattn.recipe.tasks import ImageClassification
from edgeattn.tasks import TASKS


def new_vit(spec: NewViT, task: ImageClassification) -> ViTForImageClassification:
    """The vision transformer that the recipe describes, with random weights."""
    torch.manual_seed(spec.train.seed)
    config = ViTConfig(
        hidden_size=spec.hidden_size,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        intermediate_size=spec.mlp_size,
        image_size=spec.image_size,
        patch_size=spec.patch_size,
        num_channels=spec.channels,
        num_labels=task.labels,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return ViTForImageClassification(config).eval()


def new_teacher(
    spec: NewViT, recipe: Recipe, root: Path, out: Path, work: Path, progress: Progress | None = None
) -> dict[str, Any]:
    """Trains a vision transformer and saves it to `out`. Returns facts, with its accuracy on the training data."""
    assert isinstance(recipe.task, ImageClassification)  # the recipe's reader refuses another task
    task = TASKS[recipe.task.kind](recipe.task, out)
    samples = task.encode(load_rows(recipe.data.train, root), held_out=False)
    model = new_vit(spec, recipe.task)
    facts = train_classifier(model, task, samples, spec.train, work, progress)
    model.save_pretrained(out)
    learned = accuracy(task.run(model, samples)["logits"], samples["label.classes"])
    return {**facts, "note": f"trained {facts['steps']} steps, accuracy {learned:.3f} on its training data"}
