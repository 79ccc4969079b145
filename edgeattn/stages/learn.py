"""The stages that make a trained student: teacher, data, convert, distill."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeattn.data.digest import source_digest
from edgeattn.recipe.schema import NewViT, Recipe
from edgeattn.stage import Job
from edgeattn.stages.evidence import evidence, load, save, scores
from edgeattn.store import copy_folder, sha256_file

if TYPE_CHECKING:  # torch and transformers are imported by the stages that run, not by a run from the store
    from edgeattn.tasks import Task

LOG = logging.getLogger("edgeattn")


def make_task(recipe: Recipe, teacher: Path) -> Task:
    """The recipe's task, with the tokenizer or image processor in the teacher's folder."""
    from edgeattn.tasks import TASKS

    return TASKS[recipe.task.kind](recipe.task, teacher)


def positions(recipe: Recipe) -> int | None:
    """The length that the teacher's position embeddings are extended to, or None."""
    return None if isinstance(recipe.model, NewViT) else recipe.model.extend_positions


def teacher_digest(recipe: Recipe, root: Path) -> str:
    """Digest of the teacher's source files, or its name and revision on the hub. Raises ModelError if missing."""
    if isinstance(recipe.model, NewViT):
        return "new"
    if recipe.model.source.startswith("hub:"):
        return f"{recipe.model.source}@{recipe.model.revision}"
    from edgeattn.models.checks import check_files
    from edgeattn.models.files import model_files
    from edgeattn.models.locate import locate

    folder = locate(recipe.model, root)
    check_files(folder)
    return ", ".join(f"{file.name} {sha256_file(file)}" for file in model_files(folder))


def teacher_files(recipe: Recipe, root: Path) -> list[str]:
    """Digests of what the teacher is made from: its files, and the data that a new one learns from."""
    return [teacher_digest(recipe, root), source_digest(recipe.data.train, root)]


def teacher(job: Job) -> dict[str, Any]:
    """Copies a pretrained teacher's checked files, or trains a new teacher."""
    from edgeattn.models.new import new_teacher
    from edgeattn.models.teacher import fetch_teacher

    model = job.recipe.model
    if isinstance(model, NewViT):
        return new_teacher(model, job.recipe, job.root, job.out, job.work, job.progress)
    digest = fetch_teacher(model, job.root, job.out)
    return {"digest": digest, "note": f"{model.source}, {digest[7:19]}"}


def data_files(recipe: Recipe, root: Path) -> list[str]:
    """Digests of the samples to learn from and of those held out."""
    return [source_digest(source, root) for source in (recipe.data.train, recipe.data.eval)]


def data(job: Job) -> dict[str, Any]:
    """Encodes the samples to learn from and those held out: train.npz and eval.npz."""
    from edgeattn.data.load import load_rows

    recipe, out = job.recipe, job.out
    task = make_task(recipe, job.path("teacher"))
    learn, held_out = load_rows(recipe.data.train, job.root), load_rows(recipe.data.eval, job.root)
    longest = recipe.distill.max_length if recipe.distill else None
    train = task.encode(learn, held_out=False, max_length=longest)
    evaluation = task.encode(held_out, held_out=True)
    shared = task.overlap(train, evaluation)
    count = task.count(evaluation)
    if shared:
        LOG.warning("%d of %d held-out samples are in the training data too", shared, count)
    save(out / "train.npz", train)
    save(out / "eval.npz", evaluation)
    learned = task.count(train)
    note = f"{learned} samples to learn from, {count} held out"
    return {"train": learned, "eval": count, "shared": shared, "note": note}


def student(job: Job) -> dict[str, Any]:
    """Puts the plan's variants into a copy of the teacher; nothing is trained yet."""
    from edgeattn.attention import REDUCERS
    from edgeattn.convert import convert, find_layers, make_plan
    from edgeattn.models.student import save_student
    from edgeattn.models.teacher import check_output, load_teacher

    recipe, teacher = job.recipe, job.path("teacher")
    task = make_task(recipe, teacher)
    model = load_teacher(teacher, task, extend_positions=positions(recipe))
    evaluation = load(job.path("data") / "eval.npz")
    example = task.example(evaluation)
    check_output(model, task, next(task.batches(evaluation, 32))[1], teacher)
    layers = len(find_layers(model, example))
    plan = make_plan(recipe.attention, recipe.reduce, layers)
    dense = task.kept(task.exportable(model), evaluation)
    convert(model, plan, example)
    save_student(model, plan, job.out)
    values = scores(task, task.kept(task.exportable(model), evaluation), evidence(task, evaluation, dense))
    swapped = [choice.document() for choice in plan]
    merging = sum(choice["variant"] in REDUCERS for choice in swapped)
    new = sum(choice["variant"] != "dense" for choice in swapped) - merging
    shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
    merges = f", {merging} merge tokens" if merging else ""
    note = f"{new} of {layers} layers have new attention{merges}; untrained: {shown}"
    return {"plan": swapped, "layers": layers, "scores": values, "note": note}


def distil(job: Job) -> dict[str, Any]:
    """Trains the student; without a `distill` part it stays as it is."""
    recipe = job.recipe
    if recipe.distill is None:
        copy_folder(job.path("convert"), job.out)
        return {"phases": {}, "note": "the recipe has no distill part"}
    from edgeattn.convert import plan_of
    from edgeattn.distill import distill
    from edgeattn.models.student import load_student, save_student
    from edgeattn.models.teacher import load_teacher

    teacher, data = job.path("teacher"), job.path("data")
    task = make_task(recipe, teacher)
    samples = load(data / "train.npz")
    example = task.example(load(data / "eval.npz"))
    model = load_student(job.path("convert"), task.auto_model, example)
    dense = load_teacher(teacher, task, extend_positions=positions(recipe))
    facts = distill(model, dense, task, samples, recipe.distill, job.work, job.progress)
    save_student(model, plan_of(model.config), job.out)
    steps = " and ".join(f"{phase['steps']} steps of {name}" for name, phase in facts.items())
    return {"phases": facts, "note": steps or "nothing to train"}
