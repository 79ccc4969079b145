"""The training of the student: its loss, phase by phase."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeattn.report import text
from edgeattn.report.blocks import Block, Section, Table, Text
from edgeattn.report.drawing import drawn
from edgeattn.report.evidence import Evidence
from edgeattn.report.figures import listed, mapping
from edgeattn.report.subject import Subject

_SAID = {
    "transfer": "transfer: only the new attention learns, layer by layer, to give what the old one gave",
    "finetune": "finetune: the whole model learns to give the teacher's outputs",
}
_NO_CURVE = "The bundle has no training curve: an earlier version of edgeattn trained it."
_NONE = "Not trained: the recipe has no distill part."


def section(subject: Subject) -> Section | None:
    blocks: list[Block] = []
    for place, evidence in enumerate(subject.bundles):
        blocks += _of(subject, evidence, f"training{place}")
    return Section("training", "Training", blocks, ("loss",)) if blocks else None


def _of(subject: Subject, evidence: Evidence, name: str) -> list[Block]:
    phases = mapping(evidence.manifest.training.get("distill"))
    order = [*(phase for phase in _SAID if phase in phases), *(phase for phase in phases if phase not in _SAID)]
    found = {str(phase): phases[phase] for phase in order if isinstance(phases[phase], Mapping)}
    if not found:
        return [Text(subject.headed(evidence, _NONE))]
    curves = [(phase, points) for phase, facts in found.items() if (points := curve(facts))]
    blocks: list[Block] = []
    if curves:
        ends = "; ".join(
            f"{phase} from {text.number(points[0][1])} to {text.number(points[-1][1])}" for phase, points in curves
        )
        blocks.append(
            drawn(
                subject, "training", name, title=subject.headed(evidence, "Loss of each phase against its steps"),
                alt=f"Line charts of the loss: {ends}.", phases=curves,
            )
        )  # fmt: skip
    rows = [
        [
            phase,
            _count(facts.get("steps")),
            text.number(_figure(curve(facts)[0][1] if curve(facts) else None)),
            text.number(_figure(facts.get("loss"))),
            text.number(_figure(facts.get("seconds"))),
            _count(facts.get("tokens") or None),
        ]
        for phase, facts in found.items()
    ]
    head = ["phase", "steps", "first loss", "last loss", "seconds", "tokens read"]
    blocks.append(Table(subject.headed(evidence, "training"), head, rows, numbers=range(1, 6)))
    blocks += [Text(f"{_SAID[phase]}.") for phase in found if phase in _SAID]
    return blocks if curves else [*blocks, Text(subject.headed(evidence, _NO_CURVE))]


def curve(facts: Mapping[str, Any]) -> list[tuple[float, float]]:
    """(step, mean loss until there since the one before) of a phase; empty where it was not kept."""
    points = [point for point in listed(facts.get("curve")) if isinstance(point, (list, tuple)) and len(point) == 2]
    found = [(step, loss) for step, loss in points if _figure(step) is not None and _figure(loss) is not None]
    return found if len(found) > 1 and found[-1][0] > 0 else []


def _figure(value: object) -> float | None:
    """A number that can be drawn."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if plain and abs(value) < 1e12 else None  # type: ignore[arg-type, operator]


def _count(value: object) -> str:
    return text.NA if value is None else str(value)
