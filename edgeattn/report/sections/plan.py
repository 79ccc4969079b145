"""The plan as a strip of layers: the attention of each, its precision, and the tokens it runs on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgeattn.manifest import PlanEntry
from edgeattn.report import text
from edgeattn.report.blocks import Block, Facts, Layer, Section, Strip, Text
from edgeattn.report.evidence import Evidence
from edgeattn.report.figures import listed, mapping
from edgeattn.report.quantized import quantized
from edgeattn.report.subject import Subject
from edgeattn.report.variants import VARIANTS

_DENSE = "dense"
_LAYER = re.compile(r"(?:^|[.])(\d+)(?:[.]|$)")  # of a product's name, such as "vit.layers.3.mlp.fc1"
_NONE = "Nothing was swapped: every layer kept its attention."


def section(subject: Subject) -> Section:
    blocks: list[Block] = []
    for evidence in subject.bundles:
        blocks += _of(subject, evidence)
    return Section("plan", "What was swapped, layer by layer", blocks, ("int8, fp16, fp32",))


def _of(subject: Subject, evidence: Evidence) -> list[Block]:
    plan = evidence.manifest.plan
    if not plan:
        return [Text(subject.headed(evidence, _NONE))]
    merging = [entry for entry in plan if "r" in entry.options and entry.variant.endswith("merging")]
    swapped = {entry.layer: entry for entry in plan if entry not in merging}
    merges = {entry.layer: entry for entry in merging}
    count = _count(evidence, max(entry.layer for entry in plan) + 1)
    variants = [_DENSE, *dict.fromkeys(entry.variant for entry in swapped.values() if entry.variant != _DENSE)]
    precision = _precisions(evidence, count)
    start = max(evidence.manifest.bench.lengths or (0,)) or None
    tokens, layers = start, []
    for number in range(count):
        entry = swapped.get(number)
        variant = entry.variant if entry else _DENSE
        layers.append(
            Layer(
                str(number),
                variant.replace("_", " "),
                _options(entry),
                precision[number],
                _tokens(tokens if merges else None, start),
                variants.index(variant),
            )
        )
        if number in merges:
            removed = merges[number].options["r"]
            if not isinstance(removed, int):
                raise TypeError("the tokens that a layer merges are no number")
            tokens = None if tokens is None else max(1, tokens - removed)
            layers[-1] = _merged(layers[-1], removed)
    unit = evidence.manifest.length_unit or "tokens"
    said = f"The first layer is on the left; {unit} are those at the longest length timed." if start and merges else ""
    kept = sum(1 for layer in layers if layer.place == 0)
    lead = f"{len(layers) - kept} of {len(layers)} layers have new attention"
    lead += f", and after {len(merges)} layers tokens are merged" if merges else ""
    used = [(name.replace("_", " "), VARIANTS[name]) for name in variants if name in VARIANTS and _used(name, layers)]
    strip = Strip(subject.headed(evidence, "layers"), layers)
    return [Text(subject.headed(evidence, f"{lead}. {said}".strip())), strip, Facts(used)]


def _used(variant: str, layers: Sequence[Layer]) -> bool:
    return any(layer.attention == variant.replace("_", " ") for layer in layers)


def _count(evidence: Evidence, least: int) -> int:
    """The layers of the model: those that the plan names, or more where the recipe says how many there are."""
    named = mapping(evidence.manifest.recipe.get("model")).get("layers")
    return named if isinstance(named, int) and least <= named <= 1000 else least


def _options(entry: PlanEntry | None) -> str:
    options: Mapping[str, Any] = entry.options if entry else {}
    return ", ".join(f"{str(name).replace('_', ' ')} {shown(value)}" for name, value in options.items())


def _tokens(tokens: int | None, start: int | None) -> str:
    return "" if tokens is None or start is None else str(tokens)


def _merged(layer: Layer, removed: int) -> Layer:
    options = f"{layer.options}; " if layer.options else ""
    return Layer(layer.number, layer.attention, f"{options}then merges {removed} tokens away", layer.precision,
                 layer.tokens, layer.place)  # fmt: skip


def shown(value: object) -> str:
    """An option's value as text."""
    return text.number(value, 4) if isinstance(value, float) else str(value)


def _precisions(evidence: Evidence, count: int) -> list[str]:
    """Of each layer in the shipped engine; its method where some of its products stay in float."""
    engine = evidence.manifest.engines.get("efficient")
    if engine is None:
        return [""] * count
    facts = next((each for name, each in quantized(evidence).items() if name == f"efficient {engine.method}"), {})
    left = [match[1] for each in listed(facts.get("left_in_float")) if (match := _LAYER.search(str(each)))]
    said = []
    for number in range(count):
        kept = left.count(str(number))
        said.append(
            f"{engine.method}, {kept} {'product' if kept == 1 else 'products'} in float" if kept else engine.method
        )
    return said
