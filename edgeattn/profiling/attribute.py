"""The operators of a profiled engine, each with its layer and its kind, and what they add up to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeattn.profiling.kinds import Kind, kind_of, together
from edgeattn.profiling.layers import AFTER, BEFORE, OTHER, layers_of, modules_of
from edgeattn.runtimes.base import OperatorTime
from edgeattn.runtimes.nodes import Nodes

SHOWN = 20  # operators that a document lists, the most costly first


@dataclass(frozen=True)
class Attributed:
    """An operator of an engine with where it belongs."""

    operator: OperatorTime
    kind: Kind
    layer: str


def attribute(operators: Sequence[OperatorTime], nodes: Nodes) -> list[Attributed]:
    """The operators, in their order, with layer and kind. nodes: of the graph that they name."""
    modules = modules_of(nodes)
    layers = layers_of(nodes, modules)
    kinds = {
        node.name: kind_of(node, modules.get(node.name, ""), layers[node.name], nodes) for node in nodes.nodes
    }  # fmt: skip
    places = _fill([_layer({layers[name] for name in operator.nodes}) for operator in operators])
    return [
        Attributed(
            operator,
            together(operator.kind, {(kinds[name], nodes.by_name[name].op_type) for name in operator.nodes}),
            place,
        )
        for operator, place in zip(operators, places, strict=True)
    ]


def _layer(layers: set[str]) -> str | None:
    """The layer of an operator whose nodes are in these; None where it has none."""
    numbered = {layer for layer in layers if layer.isdigit()} or layers
    if not layers:
        return None
    return next(iter(numbered)) if len(numbered) == 1 else OTHER


def _fill(places: Sequence[str | None]) -> list[str]:
    """The places, with those of a runtime's own operators: the place of the operators around them, where it is one."""
    before: list[str | None] = [None]
    for place in places:
        before.append(place or before[-1])
    after: list[str | None] = [None]
    for place in reversed(places):
        after.append(place or after[-1])
    around = zip(places, before, reversed(after[:-1]), strict=False)
    return [place or (first if first == following else None) or OTHER for place, first, following in around]


def cell(found: Sequence[Attributed], nodes: Nodes) -> dict[str, Any]:
    """What the operators add up to, as JSON: {total_ms, layers, kinds, operators}. Each part sums to the total.

    nodes: of the graph that the operators name. A kind's "nodes" are the places in it that each of its operators runs,
    for counting; a node that several name is the first one's.
    """
    total_ms = sum(each.operator.ms for each in found)
    by_layer, by_kind = defaultdict[str, float](float), defaultdict[Kind, list[float]](list)
    left = {node.name: place for place, node in enumerate(nodes.nodes)}
    places = defaultdict[Kind, list[list[int]]](list)
    for each in found:
        by_layer[each.layer] += each.operator.ms
        by_kind[each.kind].append(each.operator.ms)
        own = [left.pop(name) for name in each.operator.nodes if name in left]
        # A copy that takes no time is none: the runtime reads its input in another shape.
        if own and (each.operator.ms or each.kind != "data movement"):
            places[each.kind].append(own)

    def shared(ms: float) -> dict[str, float]:
        return {"ms": ms, "share": ms / total_ms if total_ms else 0.0}

    costly = sorted(found, key=lambda each: -each.operator.ms)[:SHOWN]
    return {
        "total_ms": total_ms,
        "layers": [{"layer": layer, **shared(by_layer[layer])} for layer in in_order(by_layer)],
        "kinds": [
            {"kind": kind, **shared(sum(times)), "operators": len(times), "nodes": places[kind]}
            for kind, times in sorted(by_kind.items(), key=lambda each: -sum(each[1]))
        ],
        "operators": [
            {"name": each.operator.name, "type": each.operator.kind, "kind": each.kind, "layer": each.layer}
            | shared(each.operator.ms)
            for each in costly
        ],
    }


def in_order(layers: Iterable[str]) -> list[str]:
    """Layers as they run: BEFORE, "0" to "n", AFTER, OTHER."""
    ends: Mapping[str, float] = {BEFORE: -1, AFTER: float("inf")}
    return sorted(layers, key=lambda layer: (layer == OTHER, ends.get(layer, int(layer) if layer.isdigit() else 0)))
