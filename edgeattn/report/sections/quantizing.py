"""What quantizing each layer costs, and what stays in more precision: the facts of the quantized candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeattn.report import text
from edgeattn.report.blocks import Block, Folded, Notes, Section, Table
from edgeattn.report.drawing import drawn
from edgeattn.report.figures import listed
from edgeattn.report.pictures.data import Dot
from edgeattn.report.quantized import quantized
from edgeattn.report.subject import Subject

Facts = Mapping[str, Any]  # of a candidate, from the method that made it
_WORST = 6
_LEAST = 1e-12  # of an error: below it, rounding
_PLACE = {"dense": 0, "efficient": 1}


@dataclass(frozen=True)
class _Layers:
    """Candidates with the same errors, in the order of the model. left: layers that stay in float."""

    names: Sequence[str]
    errors: Mapping[str, float]
    left: Sequence[str]


def section(subject: Subject) -> Section | None:
    blocks: list[Block] = []
    for place, evidence in enumerate(subject.bundles):
        lead = f"{evidence.label}: " if subject.several else ""
        blocks += _of(subject, quantized(evidence), lead, f"quantizing{place}")
    if not blocks:
        return None
    return Section("quantizing", "What quantizing costs, layer by layer", blocks, ("error alone", "cosine"))


def _of(subject: Subject, candidates: Mapping[str, Facts], lead: str, name: str) -> list[Block]:
    blocks: list[Block] = []
    found = [each for each in _grouped(candidates) if each.errors]
    series = [(_PLACE.get(each.names[0].split(" ")[0], 2), _dots(each)) for each in found]
    if any(len(dots) > 1 for _, dots in series):
        worst = "; ".join(f"{each.names[0]}: {max(each.errors, key=each.errors.__getitem__)}" for each in found)
        blocks.append(
            drawn(
                subject, "layers", name,
                title=f"{lead}Error when only this layer is quantized; hollow marks stay in float",
                alt=f"A mark per layer in the order of the model. The worst: {worst}. The tables have the figures.",
                key=[(", ".join(each.names), place) for each, (place, _) in zip(found, series, strict=True)],
                series=series, measure="error alone: lower is better", order="products with weights, layer by layer",
            )
        )  # fmt: skip
    folded: list[Block] = []
    for each in found:
        worst_first = sorted(each.errors, key=each.errors.__getitem__, reverse=True)
        rows = [(layer, text.number(each.errors[layer], 2), "left in float" if layer in each.left else "int8")
                for layer in worst_first]  # fmt: skip
        shown = [row for place, row in enumerate(rows) if place < _WORST or row[0] in each.left]
        head, names = ["layer", "error alone", "precision"], ", ".join(each.names)
        title = f"{lead}{names}: the worst {len(shown)} of {len(rows)} layers"
        blocks.append(Table(title, head, shown, numbers=(1,)))
        if len(rows) > len(shown):
            folded.append(
                Folded(f"{lead}{names}: all {len(rows)} layers", [Table(f"{names}", head, rows, numbers=(1,))])
            )
    in_fp32 = [said for each, facts in candidates.items() if (said := _in_fp32(each, facts))]
    kept = [Folded(f"{lead}What stays in fp32 in graphs of fp16, by reason", [Notes(in_fp32)])] if in_fp32 else []
    return [*blocks, *folded, *kept]


def _dots(layers: _Layers) -> list[Dot]:
    """In the order of the model: documents have their keys in that of the alphabet."""
    order = sorted(layers.errors, key=lambda name: [(part.isdigit(), part.zfill(6)) for part in name.split(".")])
    return [Dot(max(_LEAST, layers.errors[layer]), layer in layers.left) for layer in order]


def _grouped(candidates: Mapping[str, Facts]) -> list[_Layers]:
    found: list[_Layers] = []
    for name, facts in candidates.items():
        errors, left = facts.get("sensitivity"), facts.get("left_in_float")
        if not isinstance(errors, Mapping) or not isinstance(left, (list, tuple)):
            continue
        figures = {str(layer): float(error) for layer, error in errors.items() if _is_error(error)}
        same = next((place for place, each in enumerate(found) if each.errors == figures), None)
        if same is None:
            found.append(_Layers([str(name)], figures, [str(layer) for layer in left]))
        else:
            found[same] = _Layers([*found[same].names, str(name)], figures, found[same].left)
    return found


def _is_error(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6


def _in_fp32(name: str, facts: Facts) -> str:
    """What stays in fp32 in a graph in fp16."""
    why = facts.get("in_fp32")
    if not isinstance(why, Mapping) or not isinstance(facts.get("overflow"), (list, tuple)):
        return ""
    counts, overflow = ", ".join(f"{count} {reason}" for reason, count in why.items()), listed(facts["overflow"])
    near = f"; near the end of fp16's range on samples: {', '.join(map(str, overflow))}" if overflow else ""
    return f"{name}: in fp32 stay {counts}{near}."
