"""Which opset, operators and element types a parser takes."""

from __future__ import annotations

from collections.abc import Iterator

from edgeattn.check.finding import Fault
from edgeattn.check.graph import Graph, Node
from edgeattn.check.parsers import Parser

# "Pre-opset 7 broadcasting is unsupported", says the parser.
_BROADCAST_ANEW = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less", "PRelu", "Gemm",
                   "Max", "Min", "Sum", "Mean")  # fmt: skip
_PROFILE = "the device's profile: edgeattn devices show"


def opset(graph: Graph, parser: Parser) -> Iterator[Fault]:
    """The graph's opset is in the parser's range."""
    low, high = parser.opset
    source = parser.operators.source if parser.operators else _PROFILE
    if graph.opset > high:
        fact = f"opset {graph.opset} is above {high}, the highest that it takes"
        yield Fault("error", "opset", "", "", fact, source, f"export at opset {high}")
    elif graph.opset < low:
        fact = f"opset {graph.opset} is below {low}, the lowest that is supported"
        remedy = f"export at opset {low} or later"
        yield Fault("warning", "opset", "", "", fact, source, remedy)
        for node in graph.nodes:
            if parser.operators and graph.opset < 7 and node.operator in _BROADCAST_ANEW:
                fact = f"{node.operator} broadcasts in another way before opset 7"
                yield Fault("error", "opset", node.name, node.operator, fact, source, remedy)


def tensors(graph: Graph, parser: Parser) -> Iterator[Fault]:
    """The element types of the graph's inputs and outputs, and how its weights are stored."""
    known = parser.operators
    if known is None:
        return
    for which, values in (("input", graph.inputs), ("output", graph.outputs)):
        for name, kind in values.items():
            if kind and kind not in known.tensors:
                fact = f"{which} {name!r} has the type {kind}"
                remedy = f"use {', '.join(sorted({'FP32', 'INT32', 'BOOL'} & known.tensors))}"
                yield Fault("error", "tensor-type", "", "", fact, known.source, remedy)
    for name in graph.sparse:
        fact = f"initializer {name!r} is sparse"
        yield Fault("error", "tensor-type", "", "", fact, known.source, "store it dense")
    for name in graph.functions if parser.version and known.version.startswith("8.") else ():
        fact = f"the model-local function {name}"
        source = "https://github.com/onnx/onnx-tensorrt/blob/main/docs/Changelog.md (9.0 added them)"
        yield Fault("error", "function", "", name, fact, source, "inline it: onnx.inliner.inline_local_functions")


def operators(graph: Graph, parser: Parser) -> Iterator[Fault]:
    """Each node's operator is one that the parser has, with an element type that it takes there."""
    for node in graph.nodes:
        if node.operator in graph.functions:
            continue
        if node.domain:
            if node.operator not in parser.domains:
                yield _absent(node, parser)
        elif parser.operators is not None:
            if node.operator not in parser.operators.known:
                yield _absent(node, parser)
            else:
                yield from _types(graph, node, parser)


def _absent(node: Node, parser: Parser) -> Fault:
    known = parser.operators
    short = node.operator.rpartition(":")[2]
    remedy = known.instead.get(short) if known else None
    fact = f"{node.operator} is not supported"
    if remedy is None:
        remedy = "write it with operators that are supported, or run it outside of the graph"
        if node.domain:
            remedy = f"export the plain form: {node.domain} is another runtime's domain"
    source = known.source if known else f"the operators that edgeattn knows of {parser.runtime}"
    return Fault("error", "operator", node.name, node.operator, fact, source, remedy)


def _types(graph: Graph, node: Node, parser: Parser) -> Iterator[Fault]:
    known = parser.operators
    if known is None:
        return
    entry = known.known[node.operator]
    name = node.input(entry.typed) or next(iter(node.outputs), "")
    kind = graph.types.get(name)
    kind = known.computed_as.get(kind, kind) if kind else None
    if kind and entry.types is not None and kind not in entry.types:
        fact = f"{node.operator} of {graph.types[name]}"
        remedy = f"cast to {_nearest(entry.types)} before it"
        yield Fault("error", "operator-type", node.name, node.operator, fact, known.source, remedy)
    for output in node.outputs:
        made = graph.types.get(output)
        if made and made not in known.tensors:
            fact = f"{node.operator} makes {made}"
            yield Fault("error", "operator-type", node.name, node.operator, fact, known.source, "use another type")


def _nearest(types: frozenset[str]) -> str:
    return next((kind for kind in ("FP32", "INT32", "INT8", "BOOL") if kind in types), min(types))
