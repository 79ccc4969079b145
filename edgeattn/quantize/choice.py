"""Which candidate of a model is shipped: the fastest or smallest of those that keep the accuracy floor."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgeattn.bench.accuracy import floor_of, holds, kept_outputs, known, shown
from edgeattn.bench.compare import quick_compare
from edgeattn.bench.inputs import Arrays, one_by_one, save_feeds
from edgeattn.bench.leg import Engine, Leg
from edgeattn.bundle import Interface, TaskSpec
from edgeattn.errors import VerificationError
from edgeattn.metrics import metric, references, score
from edgeattn.quantize import METHODS

# A candidate must be this much faster, or smaller, to be preferred to a more precise one: less is timing noise.
WORTH = 0.03


@dataclass(frozen=True)
class Candidate:
    """A built engine of one form of a model in one method."""

    name: str
    method: str
    root: Path  # the folder that the engine's graph path starts from
    folder: Path  # of the engine
    bytes: int  # graph and weights, on disk


def choose(
    candidates: Sequence[Candidate],
    *,
    runtime: str,
    interface: Interface,
    evaluation: Mapping[str, np.ndarray[Any, Any]],
    task: TaskSpec,
    feeds: Sequence[Arrays],
    prefer: Literal["latency", "size"],
    what: str,
) -> tuple[Candidate, dict[str, Any]]:
    """The candidate to ship, and why: {"chosen", "because", "candidates": [facts of each, the most precise first]}.

    A less precise candidate ships only if it is faster (or smaller) by WORTH than every more precise one; of equally
    precise ones, the first that no other beats by WORTH.
    evaluation: the arrays of eval.npz. feeds: the inputs to time with.
    Raises VerificationError where no candidate keeps the accuracy floor.
    """
    precise_first = list(METHODS)
    candidates = sorted(candidates, key=lambda candidate: precise_first.index(candidate.method))
    latencies = quick_compare({c.name: Engine(c.root, c.folder, runtime) for c in candidates}, feeds)
    higher = metric(task.kind, task.accept_metric).higher_is_better
    teacher = score(task.kind, references(evaluation), evaluation)
    floor = floor_of(teacher.get(task.accept_metric), task.accept_of_teacher, higher)
    rows: list[dict[str, Any]] = []
    for candidate in candidates:
        value = _accuracy(candidate, runtime, interface, evaluation, task)
        rows.append(
            {
                "name": candidate.name,
                "method": candidate.method,
                "latency_ms": round(statistics.median(latencies[candidate.name]), 4),
                "bytes": candidate.bytes,
                task.accept_metric: value,
                "within_floor": holds(value, floor, higher),
            }
        )
    right = [(c, row) for c, row in zip(candidates, rows, strict=True) if row["within_floor"]]
    if not right:
        best = max(rows, key=lambda row: _goodness(row[task.accept_metric], higher))
        raise VerificationError(
            f"no candidate for the {what} model keeps the accuracy floor: the best, {best['name']}, has "
            f"{task.accept_metric} {shown(best[task.accept_metric])}, the floor is {shown(floor)}",
            where="quantize",
            fix="distill for more steps, keep some layers dense, or lower accept.of_teacher",
        )
    measure = "latency_ms" if prefer == "latency" else "bytes"
    row = _pick([row for _, row in right], measure)
    chosen = next(candidate for candidate, other in right if other is row)
    return chosen, {
        "chosen": chosen.name,
        "because": _why(row, rows, measure, floor, task),
        "candidates": rows,
    }


def _goodness(value: float | None, higher_is_better: bool) -> float:
    """For ordering: a candidate without a finite value is worse than any other."""
    return -math.inf if value is None else value if higher_is_better else -value


def _pick(rows: Sequence[dict[str, Any]], measure: str) -> dict[str, Any]:
    """The row to ship; rows: those within the floor, the most precise first."""
    chosen, least = rows[0], math.inf
    for _, group in itertools.groupby(rows, key=lambda row: row["method"]):
        same = list(group)
        best = min(row[measure] for row in same)
        if best < least * (1 - WORTH):
            chosen = next(row for row in same if row[measure] * (1 - WORTH) <= best)
        least = min(least, best)
    return chosen


def _why(row: dict[str, Any], rows: list[dict[str, Any]], measure: str, floor: float | None, task: TaskSpec) -> str:
    unit, word = ("ms", "faster") if measure == "latency_ms" else ("bytes", "smaller")
    parts = [f"{row['name']} at {row[measure]} {unit}"]
    for other in rows:
        name, value = other["name"], other[task.accept_metric]
        if other is row:
            continue
        if not other["within_floor"]:
            parts.append(f"{name} fails the floor ({task.accept_metric} {shown(value)}, the floor is {shown(floor)})")
        elif (ratio := other[measure] / row[measure]) >= 1:
            parts.append(f"{ratio:.2f} x {word} than {name}")
        else:
            than = "" if other["method"] == row["method"] else " than the best more precise candidate"
            parts.append(f"{name} at {other[measure]} {unit} is less than {WORTH:.0%} {word}{than}")
    return "; ".join(parts)


def _accuracy(
    candidate: Candidate,
    runtime: str,
    interface: Interface,
    evaluation: Mapping[str, np.ndarray[Any, Any]],
    task: TaskSpec,
) -> float | None:
    feeds = list(one_by_one(interface, evaluation))
    path = candidate.folder / "accuracy-feeds.npz"
    save_feeds(path, feeds[:1])
    with Leg(f"accuracy of {candidate.name}", Engine(candidate.root, candidate.folder, runtime), path) as leg:
        kept = kept_outputs(leg, feeds, task.kind)
    path.unlink()
    if not all(np.isfinite(array).all() for array in kept.values()):
        return None
    return known(score(task.kind, kept, evaluation).get(task.accept_metric))
