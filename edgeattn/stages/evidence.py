"""The metrics, lengths and arrays by which a bundle is measured and accepted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeattn.bundle import BenchSpec, TaskSpec
from edgeattn.metrics import METRICS, NEEDS, score
from edgeattn.recipe.schema import Recipe

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

    limit: the most tokens that the model takes, None where it has no limit.
    """
    lengths = recipe.bench.lengths
    if lengths is None and sequence:
        lengths = tuple(sorted({min(128, limit or 128), limit or 512}))
    return lengths


def bench_spec(recipe: Recipe, *, sequence: bool, limit: int | None) -> BenchSpec:
    """What is timed; see `bench_lengths`."""
    lengths = bench_lengths(recipe, sequence=sequence, limit=limit)
    return BenchSpec(lengths=lengths, batch_size=recipe.bench.batch_size, pairs=recipe.bench.pairs)


def task_spec(recipe: Recipe, evaluation: dict[str, Any]) -> TaskSpec:
    """The task's metrics that the held-out data allows, and the accuracy floor."""
    metrics = tuple(
        metric for metric in METRICS[recipe.task.kind] if metric.name not in NEEDS or NEEDS[metric.name] in evaluation
    )
    return TaskSpec(
        kind=recipe.task.kind,
        metrics=metrics,
        accept_metric=recipe.accept.metric or metrics[0].name,
        accept_of_teacher=recipe.accept.of_teacher,
    )
