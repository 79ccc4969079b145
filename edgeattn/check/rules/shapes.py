"""Shapes that are only known while the graph runs."""

from __future__ import annotations

from collections.abc import Iterator

from edgeattn.check.finding import Fault
from edgeattn.check.graph import Graph
from edgeattn.check.parsers import Parser

_DYNAMIC = "https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-dynamic-shapes.html"
_OF_DATA = ("NonZero", "NonMaxSuppression", "Compress", "Unique")
# operator -> inputs that are read as a shape
_SHAPES = {
    "Reshape": (1,), "Expand": (1,), "ConstantOfShape": (0,), "Tile": (1,), "Slice": (1, 2, 4), "Range": (0, 1, 2),
    "Resize": (2, 3), "Upsample": (1,), "Loop": (0,), "OneHot": (1,), "Pad": (1,),
}  # fmt: skip


def data_dependent(graph: Graph, parser: Parser) -> Iterator[Fault]:
    """No size depends on the values that are computed."""
    if parser.operators is None:
        return
    for node in graph.nodes:
        if node.operator in _OF_DATA:
            fact = "the size of its output depends on its values: no CUDA graph, and outputs of unknown size"
            remedy = "use a mask (Where) or TopK with a fixed K"
            yield Fault("warning", "data-dependent-shape", node.name, node.operator, fact, _DYNAMIC, remedy)


def shape_from_floats(graph: Graph, parser: Parser) -> Iterator[Fault]:
    """No shape is computed from a float input of the graph."""
    if parser.operators is None:
        return
    for node in graph.nodes:
        for place in _SHAPES.get(node.operator, ()):
            if name := _float_input(graph, node.input(place)):
                fact = f"input {place} is a shape that comes from the float input {name!r}"
                remedy = "make it a constant, or pass whole numbers"
                yield Fault("error", "shape-from-floats", node.name, node.operator, fact, _DYNAMIC, remedy)
                break


def _float_input(graph: Graph, name: str) -> str | None:
    """The float input of the graph that the value is computed from, other than from its shape."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if graph.inputs.get(name) in ("FP32", "FP16", "BF16", "FP64"):
            return name
        node = graph.producers.get(name)
        if node is not None and node.operator not in ("Shape", "Size"):
            waiting += node.inputs
    return None
