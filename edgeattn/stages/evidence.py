"""What a bundle is measured and accepted by, and the arrays that this needs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeattn.bundle import BenchSpec, TaskSpec
from edgeattn.errors import RecipeError
from edgeattn.metrics import METRICS, NEEDS, score
from edgeattn.recipe.schema import Recipe
from edgeattn.registry import did_you_mean

if TYPE_CHECKING:  # torch and transformers are imported by the stages that run, not by a run from the store
    from edgeattn.tasks import Task

GOLDEN_SAMPLES = 8


def load(path: Path) -> dict[str, Any]:
    """The arrays of an npz."""
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def save(path: Path, arrays: dict[str, Any]) -> None:
    """Writes arrays as npz."""
    np.savez_compressed(path, **arrays)


def save_evidence(task: Task, evaluation: dict[str, Any], outputs: dict[str, Any], out: Path) -> None:
    """samples.npz: golden inputs with both models' outputs. eval.npz: all held-out inputs, what they are scored
    against, and the teacher's outputs."""
    inputs = {f"input.{name}": evaluation[name] for name in task.inputs}
    extra = {name: x for name, x in evaluation.items() if name not in task.inputs}
    golden = {name: x[:GOLDEN_SAMPLES] for name, x in inputs.items()}
    answers = {f"{who}.{task.output}": x[:GOLDEN_SAMPLES] for who, x in outputs.items()}
    save(out / "samples.npz", {**golden, **answers})
    save(out / "eval.npz", {**inputs, **extra, f"teacher.{task.output}": outputs["teacher"]})


def scores(
    task: Task, output: np.ndarray[Any, Any], teacher: np.ndarray[Any, Any], evaluation: dict[str, Any]
) -> dict[str, float]:
    """The task's metrics of one output beside the teacher's, on the held-out samples."""
    values = score(task.kind, {task.output: output}, {**evaluation, f"teacher.{task.output}": teacher})
    return {name: value for name, value in values.items() if math.isfinite(value)}


def bench_lengths(recipe: Recipe, *, sequence: bool, limit: int | None) -> tuple[int, ...] | None:
    """The lengths to time: the recipe's; without them, for a model with a sequence, 128 tokens and its longest.

    limit: the model's positions, None where it has no limit. Raises RecipeError for lengths that it cannot take.
    """
    lengths = recipe.bench.lengths
    _check_lengths(lengths, "bench.lengths", sequence=sequence, limit=limit)
    if lengths is None and sequence:
        lengths = tuple(sorted({min(128, limit or 128), limit or 512}))
    return lengths


def bench_spec(recipe: Recipe, *, sequence: bool, limit: int | None) -> BenchSpec:
    """What is timed; see `bench_lengths`."""
    lengths = bench_lengths(recipe, sequence=sequence, limit=limit)
    return BenchSpec(lengths=lengths, batch_size=recipe.bench.batch_size, pairs=recipe.bench.pairs)


def check_buckets(recipe: Recipe, *, sequence: bool, limit: int | None) -> None:
    """Raise RecipeError for length buckets that the model cannot take."""
    _check_lengths(recipe.export.buckets, "export.buckets", sequence=sequence, limit=limit)


def _check_lengths(lengths: tuple[int, ...] | None, where: str, *, sequence: bool, limit: int | None) -> None:
    if lengths is None:
        return
    if not sequence:
        raise RecipeError("the model has no sequence input", where=where, fix="remove it")
    if lengths and limit and max(lengths) > limit:
        raise RecipeError(
            f"{max(lengths)} tokens are more than the {limit} positions of the model",
            where=where,
            fix="use smaller lengths, or model.extend_positions",
        )


def task_spec(recipe: Recipe, evaluation: dict[str, Any]) -> TaskSpec:
    """The task's metrics that the held-out data allows, and the accuracy floor."""
    metrics = tuple(
        metric for metric in METRICS[recipe.task.kind] if metric.name not in NEEDS or NEEDS[metric.name] in evaluation
    )
    names = [metric.name for metric in metrics]
    accept = recipe.accept.metric or names[0]
    if accept not in names:
        raise RecipeError(
            f"{accept!r} is no metric that this task and data have", where="accept.metric",
            fix=did_you_mean(accept, names),
        )  # fmt: skip
    return TaskSpec(
        kind=recipe.task.kind,
        metrics=metrics,
        accept_metric=accept,
        accept_of_teacher=recipe.accept.of_teacher,
    )
