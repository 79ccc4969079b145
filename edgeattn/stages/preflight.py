"""The stage that checks a recipe against its target, data and model before any other begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeattn.recipe.schema import NewViT, Recipe
from edgeattn.stage import Job
from edgeattn.stages.learn import data_files, teacher_digest
from edgeattn.store import sha256_file
from edgeattn.yamlfile import Positions


def preflight_files(recipe: Recipe, root: Path) -> list[str]:
    """Digests of the data and of the teacher's small files. Its weights are named by their size: they are hashed later,
    once the rest is known to be right."""
    return [*data_files(recipe, root), _teacher(recipe, root)]


def _teacher(recipe: Recipe, root: Path) -> str:
    if isinstance(recipe.model, NewViT) or recipe.model.source.startswith("hub:"):
        return teacher_digest(recipe, root)  # reads no file
    from edgeattn.models.files import CONFIG, INDEX, PROCESSOR_FILES
    from edgeattn.models.locate import locate

    folder = locate(recipe.model, root)
    small = [folder / name for name in (CONFIG, INDEX, *PROCESSOR_FILES) if (folder / name).is_file()]
    digests = [f"{file.name} {sha256_file(file)}" for file in small]
    sizes = [f"{file.name} {file.stat().st_size}" for file in sorted(folder.glob("*.safetensors"))]
    return ", ".join(digests + sizes)


def preflight(job: Job, positions: Positions) -> dict[str, Any]:
    """Checks the recipe. `positions`, of its keys in its file, appear in errors only, so they are in no key."""
    from edgeattn.preflight import preflight as check

    facts = check(job.recipe, job.root, positions, job.device, download=True)
    note = f"{facts['layers']} attention layers, {facts['train']} samples to learn from, {facts['eval']} held out"
    return {**facts, "note": note}
