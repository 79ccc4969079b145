"""Accuracy: the metrics of the shipped engine, and accuracy against latency of all candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeattn.manifest import SIDES
from edgeattn.report import candidates, text
from edgeattn.report.blocks import Block, Folded, Notes, Picture, Section, Table, Text
from edgeattn.report.drawing import drawn
from edgeattn.report.evidence import Document, Evidence
from edgeattn.report.figures import mapping, positive
from edgeattn.report.pictures.data import Mark
from edgeattn.report.subject import Subject

_STAGES = ("untrained", "student")  # in the manifest's training: metric -> value before and after training, in torch
_PLACE = {"dense": 0, "efficient": 1}
_ENOUGH = 3  # scored candidates that make a picture of the metric itself
_NOT_BUILT = "Not built yet: run `edgeattn build BUNDLE` on the device."
_LEAST = 1e-5  # of 1 - cosine: below it, all are drawn at it


def section(subject: Subject) -> Section:
    blocks: list[Block] = []
    kinds = list(dict.fromkeys(each.manifest.task.kind for each in subject.bundles))
    if len(kinds) > 1:
        blocks.append(Text(f"The tasks differ ({', '.join(kinds)}), so their metrics do not compare."))
    for place, evidence in enumerate(subject.bundles):
        build = evidence.get("build")
        blocks += _metrics(subject, evidence)
        if build is None:
            blocks.append(Text(subject.headed(evidence, _NOT_BUILT)))
            continue
        blocks += [*_picture(subject, evidence, build, f"accuracy{place}"), _ships(subject, evidence, build)]
        for side in SIDES:
            if because := candidates.because(build, side):
                blocks.append(Text(subject.headed(evidence, f"The {side} engine: {because}.")))
        tables = [_candidates(build, side) for side in SIDES if candidates.of_side(build, side)]
        tried = len(build["candidates"])
        blocks.append(
            Folded(subject.headed(evidence, f"All {tried} candidates"), [*tables, Notes(candidates.notes(build))])
        )
    return Section("accuracy", "Accuracy against latency", blocks, ("floor", "cosine", "candidate", "int8, fp16, fp32"))


def _metrics(subject: Subject, evidence: Evidence) -> list[Block]:
    verify = evidence.get("verify")
    if verify is None:
        return [Text(subject.headed(evidence, "Not verified yet: run `edgeattn verify BUNDLE`."))]
    stages = [mapping(evidence.manifest.training.get(stage)) for stage in _STAGES]
    rows = []
    for name, metric in verify["metrics"].items():
        passed = {True: "passed", False: "FAILED", None: "-"}[metric["passed"]]
        floor = "-" if metric["floor"] is None else text.number(metric["floor"], 4)
        values = [metric["teacher"], *(scores.get(name) for scores in stages), metric["value"]]
        rows.append([readable(name), *(text.number(value, 4) for value in values), floor, passed])
    head = ["metric", "teacher", "before training", "trained student", "shipped engine", "floor", "result"]
    title = subject.headed(evidence, "metrics on held-out data")
    blocks: list[Block] = [Table(title, head, rows, numbers=range(1, 6))]
    blocks += [Text(str(reason), bad=True) for reason in verify.get("reasons", [])]
    golden = [
        [
            str(name),
            text.number(drift["student"]["min_cosine"], 4),
            text.number(drift["student"]["max_abs"]),
            text.number(mapping(drift["teacher"]).get("min_cosine"), 4),
        ]
        for name, drift in mapping(verify.get("golden", {})).items()
        if isinstance(drift, Mapping) and "student" in drift
    ]
    if golden:
        columns = ["output", "least cosine to the student", "largest difference", "least cosine to the teacher"]
        table = Table("the shipped engine beside the model that was exported", columns, golden, numbers=(1, 2, 3))
        blocks.append(
            Folded(subject.headed(evidence, "Golden samples: does the engine compute the same function?"), [table])
        )
    return blocks


def readable(metric: str) -> str:
    """A metric's name as words: "teacher cosine"."""
    return str(metric).replace("_", " ")


def _picture(subject: Subject, evidence: Evidence, build: Document, name: str) -> list[Picture]:
    length = ([None, *candidates.lengths_of(build)])[-1]
    if length is None:
        return []
    timed = [(row, ms) for row in build["candidates"] if (ms := candidates.latency_at(row, length)) is not None]
    metric = str(build.get("metric") or evidence.manifest.task.accept_metric)
    scored = [(row, ms) for row, ms in timed if (row["metrics"] or {}).get(metric) is not None]
    use_metric = len(scored) >= _ENOUGH
    marks = [
        Mark(
            str(row["name"]), _PLACE.get(str(row["side"]), 2), positive(ms, "latency_ms"),
            _metric(row, metric) if use_metric else max(_LEAST, 1 - float(row["cosine"])),
            row["state"] == candidates.SHIPPED,
        )
        for row, ms in (scored if use_metric else timed)
        if use_metric or row["cosine"] is not None
    ]  # fmt: skip
    if len(marks) < 2:
        return []
    at = f" at {length} {evidence.manifest.length_unit or 'long'}" if length.isdigit() else ""
    measure = (
        f"{readable(metric)}: higher is better" if use_metric else "1 - cosine to the exact model: lower is better"
    )
    why = "" if use_metric else f" Only the fastest candidates are scored by {readable(metric)}."
    shipped = ", ".join(f"{mark.name} at {text.number(mark.latency_ms)} ms" for mark in marks if mark.shipped)
    return [
        drawn(
            subject, "scatter", name,
            title=subject.headed(evidence, f"All candidates{at}: filled marks ship.{why}"),
            alt=f"Scatter chart of {len(marks)} candidates. Shipped: {shipped or 'none'}. The folded tables have all.",
            key=[(side, _PLACE[side]) for side in ("dense", "efficient")],
            marks=marks, latency=f"ms per inference{at}", measure=measure, logarithmic=not use_metric,
            floor=build.get("floor") if use_metric else None,
        )
    ]  # fmt: skip


def _ships(subject: Subject, evidence: Evidence, build: Document) -> Table:
    """The shipped candidates in a few columns."""
    lengths = candidates.lengths_of(build)
    rows = [
        [
            str(row["name"]),
            *(text.number(candidates.latency_at(row, length)) for length in lengths),
            text.megabytes(row["bytes"]),
            text.number(row["cosine"], 4),
        ]
        for row in build["candidates"]
        if row["state"] == candidates.SHIPPED
    ]
    head = ["shipped", *candidates.columns(lengths), "on disk", "cosine"]
    return Table(subject.headed(evidence, "what ships"), head, rows, numbers=range(1, len(head)))


def _metric(row: Mapping[str, Any], metric: str) -> float:
    value = row["metrics"][metric]
    if not isinstance(value, (int, float)) or not -1e6 < value < 1e6:
        raise ValueError(f"{metric} is {value!r}")
    return float(value)


def _candidates(build: Document, side: str) -> Table:
    rows = candidates.of_side(build, side)
    metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"] or {}))
    head, cells = candidates.table_of(build, rows, metrics)
    shipped = [place for place, row in enumerate(rows) if row["state"] == candidates.SHIPPED]
    return Table(f"{side}, the fastest first", [readable(word) for word in head], cells, marked=shipped)


def shipped_metric(evidence: Evidence) -> tuple[str, Mapping[str, Any]] | None:
    """The metric that decides whether a bundle ships, and what verify says of it."""
    verify = evidence.get("verify")
    if verify is None:
        return None
    name = evidence.manifest.task.accept_metric
    found: Sequence[tuple[str, Any]] = [
        (key, each) for key, each in verify["metrics"].items() if each["floor"] is not None
    ]
    return next((each for each in found if each[0] == name), found[0] if found else None)
