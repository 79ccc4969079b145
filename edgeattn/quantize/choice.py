"""Which of several forms of one model is shipped: the fastest or smallest of those that are still right."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgeattn.bench.accuracy import floor_of, holds, known, shown
from edgeattn.bench.compare import quick_compare
from edgeattn.bench.inputs import Arrays, one_by_one, save_feeds
from edgeattn.bench.leg import Engine, Leg
from edgeattn.bundle import TaskSpec, TensorSpec
from edgeattn.errors import VerificationError
from edgeattn.metrics import score

# A form must be this much faster than a more precise one to be preferred: less is timing noise.
WORTH = 0.03


@dataclass(frozen=True)
class Candidate:
    """One form: a built engine of one graph."""

    name: str
    precision: str
    root: Path  # the folder that the engine's graph path starts from
    folder: Path  # of the engine
    bytes: int  # on disk, graph and weights


def choose(
    candidates: Sequence[Candidate],
    *,
    runtime: str,
    inputs: tuple[TensorSpec, ...],
    evaluation: Mapping[str, np.ndarray[Any, Any]],
    task: TaskSpec,
    feeds: Sequence[Arrays],
    prefer: Literal["latency", "size"],
    what: str,
) -> tuple[Candidate, dict[str, Any]]:
    """The candidate to ship, and why: {"chosen", "because", "candidates": [facts of each]}.

    candidates: the most precise first. evaluation: the arrays of eval.npz. feeds: what is timed.
    Raises VerificationError where no candidate keeps the accuracy floor.
    """
    latencies = quick_compare({c.name: (c.folder, c.root) for c in candidates}, feeds, runtime=runtime)
    higher = next(metric.higher_is_better for metric in task.metrics if metric.name == task.accept_metric)
    teacher = {key.removeprefix("teacher."): x for key, x in evaluation.items() if key.startswith("teacher.")}
    floor = floor_of(
        score(task.kind, teacher, dict(evaluation)).get(task.accept_metric), task.accept_of_teacher, higher
    )
    rows: list[dict[str, Any]] = []
    for candidate in candidates:
        value = _accuracy(candidate, runtime, inputs, evaluation, task)
        rows.append(
            {
                "name": candidate.name,
                "precision": candidate.precision,
                "latency_ms": round(statistics.median(latencies[candidate.name]), 4),
                "bytes": candidate.bytes,
                task.accept_metric: value,
                "within_floor": holds(value, floor, higher),
            }
        )
    right = [(c, row) for c, row in zip(candidates, rows, strict=True) if row["within_floor"]]
    if not right:
        best = max(rows, key=lambda row: (row[task.accept_metric] or 0.0) * (1 if higher else -1))
        raise VerificationError(
            f"no form of the {what} model keeps the accuracy floor: the best, {best['name']}, has "
            f"{task.accept_metric} {shown(best[task.accept_metric])}, the floor is {shown(floor)}",
            where="quantize",
            fix="distil for more steps, keep some layers dense, or lower accept.of_teacher",
        )
    measure = "latency_ms" if prefer == "latency" else "bytes"
    chosen, row = right[0]
    for other, other_row in right[1:]:
        if other_row[measure] < row[measure] * (1 - WORTH):
            chosen, row = other, other_row
    return chosen, {
        "chosen": chosen.name,
        "because": _why(row, rows, measure, floor, task),
        "candidates": rows,
    }


def _why(row: dict[str, Any], rows: list[dict[str, Any]], measure: str, floor: float | None, task: TaskSpec) -> str:
    unit, word = ("ms", "faster") if measure == "latency_ms" else ("bytes", "smaller")
    parts = [f"{row['name']} at {row[measure]} {unit}"]
    for other in rows:
        if other is row:
            continue
        if not other["within_floor"]:
            value = shown(other[task.accept_metric])
            parts.append(f"{other['name']} fails the floor ({task.accept_metric} {value}, the floor is {shown(floor)})")
        else:
            ratio = other[measure] / row[measure]
            verdict = f"{word} than {other['name']} by {ratio:.2f}" if ratio >= 1 else (
                f"{other['name']} at {other[measure]} {unit} is not {word} by enough to give up precision"
            )  # fmt: skip
            parts.append(verdict)
    return "; ".join(parts)


def _accuracy(
    candidate: Candidate,
    runtime: str,
    inputs: tuple[TensorSpec, ...],
    evaluation: Mapping[str, np.ndarray[Any, Any]],
    task: TaskSpec,
) -> float | None:
    feeds = list(one_by_one(inputs, evaluation))
    path = candidate.folder / "accuracy-feeds.npz"
    save_feeds(path, feeds[:1])
    with Leg(f"accuracy of {candidate.name}", Engine(candidate.root, candidate.folder, runtime), path) as leg:
        answers = leg.answer(feeds)
    path.unlink()
    outputs = {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
    if not all(np.isfinite(array).all() for array in outputs.values()):
        return None
    return known(score(task.kind, outputs, dict(evaluation)).get(task.accept_metric))
