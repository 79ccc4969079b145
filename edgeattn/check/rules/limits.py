"""The conditions that devices/operators states for an operator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from edgeattn.check.finding import Fault
from edgeattn.check.graph import Graph, Node
from edgeattn.check.operators import Limit, Operators
from edgeattn.check.parsers import Parser

Broken = tuple[str, str, str] | None  # rule, fact, remedy
_INTEGERS = ("INT32", "INT64", "INT8", "UINT8", "BOOL")


def limits(graph: Graph, parser: Parser) -> Iterator[Fault]:
    """Each node keeps the limits of its operator."""
    known = parser.operators
    if known is None:
        return
    for node in graph.nodes:
        for limit in known.known[node.operator].limits if node.operator in known.known else ():
            if not _holds(graph, node, limit):
                continue
            for check in _CHECKS:
                if broken := check(graph, node, limit, known):
                    rule, fact, remedy = broken
                    fact = f"{fact}: {limit.why}" if limit.why else fact
                    yield Fault("error", rule, node.name, node.operator, fact, known.source, remedy)


def _holds(graph: Graph, node: Node, limit: Limit) -> bool:
    if limit.where is not None and not node.value(limit.where, 0):
        return False
    if limit.beside is None:
        return True
    shape = graph.shapes.get(node.input(limit.beside.input))
    return shape is not None and limit.beside.least <= len(shape) <= limit.beside.most


def _constant(graph: Graph, node: Node, limit: Limit, known: Operators) -> Broken:
    if limit.constant is None or not (name := node.input(limit.constant)):
        return None
    if graph.is_constant(name, folds=known.folds):
        return None
    rule = "reduce-axes" if node.operator.startswith("Reduce") else "constant-input"
    fact = f"input {limit.constant} ({name}) is not a constant"
    return rule, fact, "make it an initializer; constant folding (polygraphy surgeon sanitize --fold-constants) may do"


def _given(graph: Graph, node: Node, limit: Limit, known: Operators) -> Broken:
    if limit.given is None or node.input(limit.given):
        return None
    return "operator-limit", f"input {limit.given} is not given", "give it"


def _kind(graph: Graph, node: Node, limit: Limit, known: Operators) -> Broken:
    found = graph.types.get(node.input(limit.kind.input)) if limit.kind else None
    if limit.kind is None or found is None or found in limit.kind.types:
        return None
    return "operator-type", f"input {limit.kind.input} is {found}", f"make it {' or '.join(limit.kind.types)}"


def _absent(graph: Graph, node: Node, limit: Limit, known: Operators) -> Broken:
    given = [place for place in limit.absent if node.input(place)]
    return ("operator-limit", f"input {given[0]} ({node.input(given[0])}) is given", "leave it out") if given else None


def _outputs(graph: Graph, node: Node, limit: Limit, known: Operators) -> Broken:
    if limit.outputs is None or len([name for name in node.outputs if name]) <= limit.outputs:
        return None
    return "operator-limit", f"has {len(node.outputs)} outputs, {limit.outputs} is supported", "remove the others"


def _values(graph: Graph, node: Node, limit: Limit, known: Operators) -> Broken:
    for name, allowed in limit.values.items():
        value = node.value(name)
        if value is not None and value not in allowed:
            listed = " or ".join(str(each) for each in allowed)
            return "operator-limit", f"has {name} {value}", f"use {listed}"
    return None


def _without(graph: Graph, node: Node, limit: Limit, known: Operators) -> Broken:
    given = [name for name in limit.without if name in node.attributes]
    return ("operator-limit", f"has the attribute {given[0]}", "leave it out") if given else None


def _ones(graph: Graph, node: Node, limit: Limit, known: Operators) -> Broken:
    values = node.value(limit.ones, ()) if limit.ones else ()
    return (
        ("operator-limit", f"has {limit.ones} {list(values)}", "use 1") if any(each != 1 for each in values) else None
    )


def _rank(graph: Graph, node: Node, limit: Limit, known: Operators) -> Broken:
    shape = graph.shapes.get(node.input(limit.rank.input)) if limit.rank else None
    if limit.rank is None or shape is None or limit.rank.least <= len(shape) <= limit.rank.most:
        return None
    least, most = limit.rank.least, limit.rank.most
    wanted = f"{least}" if least == most else f"{least} to {most}"
    return "operator-limit", f"input {limit.rank.input} has {len(shape)} dimensions", f"reshape it to {wanted}"


def _most(graph: Graph, node: Node, limit: Limit, known: Operators) -> Broken:
    array = graph.constant(node.input(limit.most.input)) if limit.most and node.input(limit.most.input) else None
    if limit.most is None or array is None or array.size == 0 or array.max() <= limit.most.value:
        return None
    fact = f"input {limit.most.input} is {array.max()}; {limit.most.value} is the most"
    return "operator-limit", fact, f"use {limit.most.value} or less"


def _sized(graph: Graph, node: Node, limit: Limit, known: Operators) -> Broken:
    shape: Any = graph.shapes.get(node.input(limit.sized)) if limit.sized is not None else None
    if shape is None or None not in shape:
        return None
    return "operator-limit", f"input {limit.sized} has a size that is not fixed", "fix the size"


def _integer_unless(graph: Graph, node: Node, limit: Limit, known: Operators) -> Broken:
    if limit.integer_unless is None or node.value(limit.integer_unless, 0):
        return None
    kind = graph.types.get(node.input(0))
    if kind is None or kind in _INTEGERS:
        return None
    return "operator-type", f"{node.operator} of {kind} without {limit.integer_unless}", f"set {limit.integer_unless}"


def _alike(graph: Graph, node: Node, limit: Limit, known: Operators) -> Broken:
    shapes = {graph.shapes.get(node.input(place)) for place in limit.alike} - {None}
    if len(shapes) < 2:
        return None
    listed = " and ".join(str(list(shape or ())) for shape in shapes)
    return "operator-limit", f"inputs of the shapes {listed}", "give them the same shape"


_CHECKS: tuple[Callable[[Graph, Node, Limit, Operators], Broken], ...] = (
    _constant, _given, _absent, _kind, _outputs, _values, _without, _ones, _rank, _most, _sized, _integer_unless,
    _alike,
)  # fmt: skip
