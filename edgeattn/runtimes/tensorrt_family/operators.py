"""The layers of an engine, and what each takes, as operators of the bundle's graph.

TensorRT names a layer by the nodes that it fused: "node_a + node_b", "PWN(node_a, node_b)", "node_a || node_b" side by
side, "{ForeignNode[node_a...node_b]}" for all from the first to the last. An engine that was built with detailed
information also lists them in the layer's "Metadata", each as "[ONNX Layer: node_a]" with control characters between
them. Written against NVIDIA's documents of the engine inspector and the profiler; not run on hardware yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeattn.runtimes.base import OperatorTime
from edgeattn.runtimes.nodes import Nodes

_METADATA = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_SPAN = re.compile(r"([^\s\[\]{}(),+|]+?)\.\.\.([^\s\[\]{}(),+|]+)")
_WORDS = re.compile(r"[^\s\[\]{}(),+|]+")
_COPY = re.compile(r"^(Reformatting CopyNode|reshape_(before|after)_|copied_)|^\[?COPY", re.IGNORECASE)


def operators_of(times: Mapping[str, float], layers: Sequence[Any], nodes: Nodes) -> list[OperatorTime]:
    """The operators of an engine. times: layer -> milliseconds. layers: of its inspector, names or facts."""
    facts = {str(layer.get("Name")): layer for layer in layers if isinstance(layer, dict)}
    return [
        OperatorTime(name, _kind(name, facts.get(name, {})), ms, _nodes_of(name, facts.get(name, {}), nodes))
        for name, ms in times.items()
    ]


def _kind(name: str, facts: Mapping[str, Any]) -> str:
    if _COPY.match(name):
        return "Reformat"
    return str(facts.get("LayerType") or ("Myelin" if "ForeignNode" in name or "myl" in name else ""))


def _nodes_of(name: str, facts: Mapping[str, Any], nodes: Nodes) -> tuple[str, ...]:
    listed = [each for each in _METADATA.findall(str(facts.get("Metadata") or "")) if each in nodes.by_name]
    return tuple(dict.fromkeys(listed)) or tuple(dict.fromkeys(_named(name, nodes)))


def _named(name: str, nodes: Nodes) -> Iterator[str]:
    """The nodes that a layer's name lists, and all between the ends of a span."""
    places = {node.name: place for place, node in enumerate(nodes.nodes)}
    for first, last in _SPAN.findall(name):
        begin, end = nodes.named_in(first), nodes.named_in(last)
        if begin and end:
            between = sorted((places[begin.name], places[end.name]))
            yield from (node.name for node in nodes.nodes[between[0] : between[1] + 1])
    for word in _WORDS.findall(_SPAN.sub(" ", name)):
        if found := nodes.named_in(word):
            yield found.name
