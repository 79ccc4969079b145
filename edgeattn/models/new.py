"""A small teacher, trained from scratch on the recipe's own labelled data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import ViTConfig, ViTForImageClassification

from edgeattn.data.load import load_rows
from edgeattn.distill import train_classifier
from edgeattn.errors import RecipeError
from edgeattn.progress import Progress
from edgeattn.recipe.schema import ImageClassification, NewViT, Recipe
from edgeattn.tasks import TASKS


def new_teacher(
    spec: NewViT, recipe: Recipe, root: Path, out: Path, work: Path, progress: Progress | None = None
) -> dict[str, Any]:
    """Trains a vision transformer and saves it to `out`. Returns facts, with its accuracy on the training data.

    Raises RecipeError for a task that such a teacher does not serve.
    """
    if not isinstance(recipe.task, ImageClassification):
        raise RecipeError(f"a new {spec.architecture} cannot do {recipe.task.kind}", where="model.architecture")
    task = TASKS[recipe.task.kind](recipe.task, out)
    samples = task.encode(load_rows(recipe.data.train, root), held_out=False)
    shape = samples["pixel_values"].shape[1:]
    if shape != (spec.channels, spec.image_size, spec.image_size):
        raise RecipeError(
            f"the images are {list(shape)}, channels {spec.channels} and image_size {spec.image_size} do not fit them",
            where="model",
        )
    torch.manual_seed(spec.train.seed)
    config = ViTConfig(
        hidden_size=spec.hidden_size,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        intermediate_size=spec.mlp_size,
        image_size=spec.image_size,
        patch_size=spec.patch_size,
        num_channels=spec.channels,
        num_labels=recipe.task.labels,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = ViTForImageClassification(config)
    facts = train_classifier(model, task, samples, spec.train, work, progress)
    model.save_pretrained(out)
    learned = float((task.run(model, samples).argmax(-1) == samples["label"]).mean())
    return {**facts, "note": f"trained {facts['steps']} steps, accuracy {learned:.3f} on its training data"}
