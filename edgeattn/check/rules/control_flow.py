"""If and Loop: what TensorRT takes of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeattn.check.finding import Fault
from edgeattn.check.graph import Graph, Node, shape_of
from edgeattn.check.parsers import Parser


def control_flow(graph: Graph, parser: Parser) -> Iterator[Fault]:
    """The branches of an If have outputs of the same rank, and what a Loop carries keeps its shape."""
    if parser.operators is None:
        return
    for node in graph.nodes:
        if node.operator == "If":
            yield from _branches(node, parser.operators.source)
        elif node.operator == "Loop":
            yield from _carried(graph, node, parser.operators.source)


def _branches(node: Node, source: str) -> Iterator[Fault]:
    first, second = (node.value(name) for name in ("then_branch", "else_branch"))
    for one, other in zip(first.output, second.output, strict=False):
        shapes = [shape_of(value.type) for value in (one, other)]
        if None not in shapes and len(shapes[0] or ()) != len(shapes[1] or ()):
            fact = f"its branches make {list(shapes[0] or ())} and {list(shapes[1] or ())}"
            remedy = "give both the same number of dimensions, or use Where"
            yield Fault("error", "control-flow", node.name, node.operator, fact, source, remedy)


def _carried(graph: Graph, node: Node, source: str) -> Iterator[Fault]:
    body: Any = node.value("body")
    carried = len(node.inputs) - 2
    for name, value in zip(node.inputs[2:], body.output[1 : 1 + carried], strict=False):
        before, after = graph.shapes.get(name), shape_of(value.type)
        if before is None or after is None:
            continue
        fixed = [(a, b) for a, b in zip(before, after, strict=False) if a is not None and b is not None]
        if len(before) != len(after) or any(a != b for a, b in fixed):
            fact = f"it carries {name!r} of {list(before)} on as {list(after)}"
            remedy = "keep the shape the same in all iterations: fill a tensor of the final size with ScatterND"
            yield Fault("error", "control-flow", node.name, node.operator, fact, source, remedy)
