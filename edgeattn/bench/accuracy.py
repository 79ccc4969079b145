"""`edgeattn verify`: checks that the outputs of the shipped engine are still right on this machine.

The golden samples show that it computes the same function, the task's metrics that it keeps the accuracy floor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np

from edgeattn.bench.engines import engine_of
from edgeattn.bench.golden import drifts
from edgeattn.bench.inputs import Array, Arrays, one_by_one, save_feeds
from edgeattn.bench.leg import Leg
from edgeattn.bundle import Bundle
from edgeattn.devices.probe import machine_facts
from edgeattn.errors import BundleError
from edgeattn.jsonfile import COPY_AGAIN
from edgeattn.metrics import keep, metric, references, score
from edgeattn.padding import stack
from edgeattn.recognition import target_here
from edgeattn.scratch import scratch

SCHEMA_VERSION = 1
_AT_ONCE = 16  # feeds


def check(bundle: Bundle, *, threads: int | None = None) -> dict[str, Any]:
    """The verify document. A failed check is reported in "passed" and not raised; nothing is recorded.

    {schema, created_utc, bundle, passed, reasons: [text], method, runtime, machine,
     golden: {output: {student: drift, teacher: drift, least_cosine, passed}},
     metrics: {name: {value, teacher, floor, passed}}}

    A value that cannot be computed is None. Only the recipe's accept metric has a floor; for the others,
    floor and passed are None.
    """
    manifest = bundle.manifest
    bundle.require_built()
    target_here(bundle)
    reference = manifest.engines["efficient"]
    samples, evaluation = bundle.arrays("samples"), bundle.arrays("eval")
    golden_feeds = list(one_by_one(manifest, samples))
    eval_feeds = list(one_by_one(manifest, evaluation, manifest.bench.batch_size))
    teacher = _teacher(bundle, evaluation)
    with scratch("verify") as folder:
        first = folder / "first.npz"
        save_feeds(first, golden_feeds[:1])
        with Leg("efficient engine", engine_of(bundle, "efficient", threads), first) as leg:
            session = leg.load()["session"]
            answers = leg.answer(golden_feeds)
            kept = kept_outputs(leg, eval_feeds, manifest.task.kind)
    reasons: list[str] = []
    golden = _golden(answers, samples, reference.least_cosine, reasons)
    metrics = _metrics(bundle, kept, evaluation, teacher, reasons)
    return {
        "schema": SCHEMA_VERSION,
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "bundle": manifest.digest,
        "passed": not reasons,
        "reasons": reasons,
        "method": reference.method,
        "runtime": session,
        "machine": machine_facts(),
        "golden_samples": len(golden_feeds),
        "golden": golden,
        "metrics": metrics,
    }


def _golden(outputs: list[Arrays], samples: Mapping[str, Array], floor: float, reasons: list[str]) -> dict[str, Any]:
    against = {side: drifts(outputs, samples, side) for side in ("student", "teacher")}
    document = {}
    for name, drift in against["student"].items():
        passed = drift.min_cosine is not None and drift.min_cosine >= floor
        if drift.non_finite:
            reasons.append(f"output {name!r} has {drift.non_finite} values that are not finite on the golden samples")
        elif not passed:
            reasons.append(f"output {name!r}: cosine {drift.min_cosine:.4f} to the student, {floor} is required")
        teacher = against["teacher"].get(name)
        document[name] = {
            "student": drift.facts(),
            "teacher": teacher.facts() if teacher else None,
            "least_cosine": floor,
            "passed": passed,
        }
    return document


def _teacher(bundle: Bundle, evaluation: Mapping[str, Array]) -> dict[str, float]:
    """The teacher's metrics, computed before the engine runs: arrays that cannot be scored are refused here."""
    task, where = bundle.manifest.task, str(bundle.path / "eval.npz")
    for name in task.metrics:
        missing = [key for key in metric(task.kind, name).needs if key not in evaluation]
        if missing:
            raise BundleError(f"lacks {missing[0]!r}, which {name} needs", where=where, fix=COPY_AGAIN)
    try:
        return score(task.kind, references(evaluation), evaluation)
    except (LookupError, TypeError, ValueError) as error:
        raise BundleError(f"cannot be scored: {type(error).__name__}: {error}", where=where, fix=COPY_AGAIN) from error


def kept_outputs(leg: Leg, feeds: Sequence[Arrays], kind: str) -> Arrays:
    """What the metrics of a task need of the engine's outputs for all feeds: name -> [S, ...].

    A few feeds at a time: the whole outputs of a language model would not fit in memory.
    """
    parts: list[Arrays] = []
    for start in range(0, len(feeds), _AT_ONCE):
        some = feeds[start : start + _AT_ONCE]
        parts += [keep(kind, outputs, inputs) for outputs, inputs in zip(leg.answer(some), some, strict=True)]
    return {name: stack([part[name] for part in parts]) for name in parts[0]}


def _metrics(
    bundle: Bundle,
    kept: Arrays,
    evaluation: Mapping[str, Array],
    teacher: Mapping[str, float],
    reasons: list[str],
) -> dict[str, Any]:
    task = bundle.manifest.task
    broken = [name for name, array in kept.items() if not np.isfinite(array).all()]
    if broken:
        reasons.append(f"output {broken[0]!r} has values that are not finite on the evaluation data")
    values = {} if broken else score(task.kind, kept, evaluation)
    document: dict[str, Any] = {}
    for name in task.metrics:
        value, reference = known(values.get(name)), known(teacher.get(name))
        floor = passed = None
        if name == task.accept_metric:
            higher = metric(task.kind, name).higher_is_better
            floor = floor_of(reference, task.accept_of_teacher, higher)
            passed = holds(value, floor, higher)
            if not passed:
                reasons.append(f"{name} is {shown(value)}, its floor is {shown(floor)}")
        document[name] = {"value": value, "teacher": reference, "floor": floor, "passed": passed}
    if task.accept_metric not in document:
        reasons.append(f"accept_metric {task.accept_metric} is not a metric of the bundle's task")
    return document


def known(value: float | None) -> float | None:
    """`value`, or None where it is not finite."""
    return None if value is None or not math.isfinite(value) else value


def floor_of(teacher: float | None, share: float, higher_is_better: bool) -> float | None:
    """The worst value that keeps `share` of the teacher's value; None where the teacher has none."""
    if teacher is None:
        return None
    # A share of a negative value lies above that value, so the margin is a share of its magnitude.
    room = abs(teacher) * (1 - share) if higher_is_better else abs(teacher) * (1 / share - 1)
    return teacher - room if higher_is_better else teacher + room


def holds(value: float | None, floor: float | None, higher_is_better: bool) -> bool:
    """Whether `value` keeps the floor."""
    if value is None or floor is None:
        return False  # a missing metric is a failure
    return value >= floor if higher_is_better else value <= floor


def shown(value: float | None) -> str:
    """A metric as text."""
    return "n/a" if value is None else f"{value:.4f}"
