"""What quantizing each layer costs, and what stays in more precision: the facts of the quantized candidates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeattn.report import text
from edgeattn.report.parts import paragraph, table

Facts = Mapping[str, Any]  # of a candidate, from the method that made it
_WORST = 6
HOW = (
    "A layer's error is 1 - cosine of the model's output, on samples that did not calibrate, when only that layer is "
    "quantized. Where the cosine of all together is below the recipe's least_cosine, the worst layers stay in float."
)


def tables(candidates: Mapping[str, Facts]) -> str:
    """For report.html. candidates: name -> facts. Empty where no method has anything to say."""
    body = ""
    for names, errors, left in _grouped(candidates):
        worst = sorted(errors, key=errors.__getitem__, reverse=True)
        worst = [layer for place, layer in enumerate(worst) if place < _WORST or layer in left]
        body += f"{paragraph(f'{names}: the worst {len(worst)} of {len(errors)} layers')}"
        body += table(
            ("layer", "error alone", ""),
            [(layer, text.number(errors[layer], 2), "left in float" if layer in left else "int8") for layer in worst],
        )
    if body:
        body += paragraph(HOW)
    return body + "".join(paragraph(said) for name, facts in candidates.items() if (said := _in_fp32(name, facts)))


def _grouped(candidates: Mapping[str, Facts]) -> list[tuple[str, dict[str, float], list[str]]]:
    """(names, errors, layers left in float) of candidates with the same int8 layers."""
    found: list[tuple[str, dict[str, float], list[str]]] = []
    for name, facts in candidates.items():
        errors, left = facts.get("sensitivity"), facts.get("left_in_float")
        if not isinstance(errors, Mapping) or not isinstance(left, (list, tuple)):
            continue
        errors = {str(layer): float(error) for layer, error in errors.items() if isinstance(error, (int, float))}
        same = next((place for place, each in enumerate(found) if each[1] == errors), None)
        if same is None:
            found.append((name, errors, list(left)))
        else:
            found[same] = (f"{found[same][0]}, {name}", *found[same][1:])
    return found


def _in_fp32(name: str, facts: Facts) -> str:
    """What stays in fp32 in a graph in fp16."""
    why, overflow = facts.get("in_fp32"), facts.get("overflow")
    if not isinstance(why, Mapping) or not isinstance(overflow, (list, tuple)):
        return ""
    counts = ", ".join(f"{count} {reason}" for reason, count in why.items())
    near = f"; near the end of fp16's range on samples: {', '.join(map(str, overflow))}" if overflow else ""
    return f"{name}: in fp32 stay {counts}{near}."
