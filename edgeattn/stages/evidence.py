"""The metrics, lengths and arrays by which a bundle is measured and accepted.

A bundle has two files of arrays, each [S, ...] with one row per sample, padded at the end of each axis:

- samples.npz, a few golden samples: `input.<name>`, and the whole outputs of both models, `student.<output>` and
  `teacher.<output>`.
- eval.npz, all held-out samples: `input.<name>`; `reference.<name>`, what the metrics need of the teacher's outputs
  (see `edgeattn.metrics.keep`); and what the data says of them: `label.classes` (whole numbers), `label.pairs` ([P, 2]
  rows of samples that are compared) and `label.scores` ([P] their similarity).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeattn.bundle import BenchSpec, Interface, TaskSpec
from edgeattn.metrics import allowed, kept_arrays, score
from edgeattn.recipe.schema import Recipe

if TYPE_CHECKING:  # torch and transformers are imported by the stages that run, not by a run from the store
    from edgeattn.tasks import Samples, Task

GOLDEN_SAMPLES = 8
_GOLDEN_BYTES = 2**26  # of one model's outputs: a language model's logits are megabytes a sample


def load(path: Path) -> dict[str, Any]:
    """The arrays of an npz."""
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def save(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays as npz."""
    np.savez_compressed(path, **arrays)


def golden(task: Task, evaluation: Samples, models: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of samples.npz; models: "student" and "teacher", exportable. At most _GOLDEN_BYTES of outputs each."""
    first = {name: evaluation[name][:1] for name in task.inputs}
    one = sum(array.nbytes for array in task.run(models["student"], first).values())
    count = max(1, min(GOLDEN_SAMPLES, _GOLDEN_BYTES // one))
    samples = {name: evaluation[name][:count] for name in task.inputs}
    arrays = {f"input.{name}": array for name, array in samples.items()}
    for who, model in models.items():
        arrays |= {f"{who}.{name}": array for name, array in task.run(model, samples).items()}
    return arrays


def evidence(task: Task, evaluation: Samples, teacher: Samples) -> dict[str, Any]:
    """The arrays of eval.npz; teacher: what is kept of its outputs."""
    inputs = {f"input.{name}": evaluation[name] for name in task.inputs}
    labels = {name: array for name, array in evaluation.items() if name not in task.inputs}
    reference = {kept.reference: teacher[kept.name] for kept in kept_arrays(task.kind)}
    return {**inputs, **labels, **reference}


def scores(task: Task, kept: Samples, arrays: Mapping[str, Any]) -> dict[str, float]:
    """The task's metrics of what is kept of a model's outputs, against the arrays of `evidence`."""
    values = score(task.kind, kept, arrays)
    return {name: value for name, value in values.items() if math.isfinite(value)}


def bench_lengths(recipe: Recipe, interface: Interface) -> tuple[int, ...] | None:
    """The lengths to time: the recipe's; without them, 128 and the model's longest. None without a length axis."""
    lengths = recipe.bench.lengths
    if lengths is None and interface.length_axis:
        longest = interface.axes[interface.length_axis].longest
        lengths = tuple(sorted({min(128, longest or 128), longest or 512}))
    return lengths


def bench_spec(recipe: Recipe, interface: Interface) -> BenchSpec:
    """What is timed; see `bench_lengths`."""
    lengths = bench_lengths(recipe, interface)
    return BenchSpec(lengths=lengths, batch_size=recipe.bench.batch_size, pairs=recipe.bench.pairs)


def task_spec(recipe: Recipe, arrays: Mapping[str, Any]) -> TaskSpec:
    """The task's metrics that the arrays of eval.npz allow, and the accuracy floor."""
    metrics = tuple(metric.name for metric in allowed(recipe.task.kind, arrays))
    return TaskSpec(
        kind=recipe.task.kind,
        metrics=metrics,
        accept_metric=recipe.accept.metric or metrics[0],
        accept_of_teacher=recipe.accept.of_teacher,
    )
