"""The nodes of a bundle's graph, read without native code, and how the operators of a runtime are traced to them."""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edgeattn.onnxfile import Message, last, read_onnx

MODULES = "pkg.torch.onnx.name_scopes"  # torch's note on a node: the modules around it, and its own name
_CUT = re.compile(r"[./_]")  # between a node's name and what a runtime adds to it


@dataclass(frozen=True)
class Node:
    """module: the innermost torch module that it comes from, such as "encoder.layer.0.output.dense"; "" where torch's
    note names the whole model or nothing, None where there is no note."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    module: str | None = None


@dataclass(frozen=True)
class Nodes:
    """The nodes of a graph, in the order of the file, which is one that they can run in. weights: initializers."""

    nodes: tuple[Node, ...]
    weights: frozenset[str]

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def maker(self) -> Mapping[str, Node]:
        """tensor -> the node that writes it."""
        return {tensor: node for node in self.nodes for tensor in node.outputs}

    @cached_property
    def readers(self) -> Mapping[str, Sequence[Node]]:
        """tensor -> the nodes that read it."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for tensor in node.inputs:
                found.setdefault(tensor, []).append(node)
        return found

    @cached_property
    def constant(self) -> frozenset[str]:
        """The tensors that no input of the graph changes: weights, and what is computed from them alone."""
        found = set(self.weights)
        for node in self.nodes:
            if found.issuperset(node.inputs):
                found.update(node.outputs)
        return frozenset(found)

    def named_in(self, text: str) -> Node | None:
        """The node whose name, or whose output's, a runtime's word begins with: "node_matmul/transpose_b" of
        node_matmul."""
        end = len(text)
        while end > 0:
            word = text[:end]
            if found := self.by_name.get(word) or self.maker.get(word):
                return found
            cuts = [cut.start() for cut in _CUT.finditer(word)]
            end = cuts[-1] if cuts else 0
        return None


def read_nodes(path: Path) -> Nodes:
    """The nodes of an ONNX file. Raises BundleError."""
    graph = read_onnx(path)["graph"][0]
    weights = frozenset(last(tensor, "name", "") for tensor in graph.get("tensor", []))
    return Nodes(tuple(_node(place, each) for place, each in enumerate(graph["node"])), weights)


def _node(place: int, message: Message) -> Node:
    op_type = last(message, "op_type", "")
    inputs, outputs = (tuple(filter(None, message.get(side, []))) for side in ("input", "output"))
    name = last(message, "name", "") or f"{op_type}_{place}"
    return Node(name, op_type, inputs, outputs, _module(message))


def _module(message: Message) -> str | None:
    notes = {last(entry, "key", ""): last(entry, "value", "") for entry in message.get("metadata", [])}
    if MODULES not in notes:
        return None
    try:
        scopes = literal_eval(notes[MODULES])
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return str(scopes[-2]) if isinstance(scopes, list) and len(scopes) > 1 else ""


def traced(optimized: Nodes, original: Nodes) -> dict[str, tuple[str, ...]]:
    """Operator of an optimized graph -> names of the original's nodes that it stands for; empty for its own ones.

    An optimizer keeps the names of the tensors between what it fuses. An operator stands for the nodes between the
    tensors that it reads and writes, without those that an operator before it stands for.
    """
    taken: set[str] = set()
    found: dict[str, tuple[str, ...]] = {node.name: () for node in optimized.nodes}
    known = original.maker.keys() | original.readers.keys()
    for operator in optimized.nodes:
        ends = [tensor for tensor in operator.outputs if tensor in original.maker]
        if not ends:
            continue
        group, starts = _back_to(operator, optimized, known)
        members = _between(ends, starts, original, taken)
        taken.update(node.name for node in members)
        for node in members:
            # A group such as a convolution in another layout and its reordering: the work is the convolution's.
            same = next((each for each in group if each.op_type == node.op_type), operator)
            found[same.name] += (node.name,)
    return found


def _back_to(operator: Node, optimized: Nodes, known: Collection[str]) -> tuple[list[Node], set[str]]:
    """The operator with those before it that write tensors of the optimizer's own, and the tensors that they read."""
    group, starts, left = [operator], set[str](), list(operator.inputs)
    while left:
        tensor = left.pop()
        before = optimized.maker.get(tensor)
        if tensor in known or before is None:
            starts.add(tensor)
        elif before not in group:
            group.append(before)
            left += before.inputs
    return group, starts


def _between(ends: Iterable[str], starts: set[str], graph: Nodes, taken: Collection[str]) -> list[Node]:
    """The nodes that compute `ends` from `starts`, without those that are taken."""
    found: dict[str, Node] = {}
    left = list(ends)
    while left:
        node = graph.maker.get(left.pop())
        if node is None or node.name in found or node.name in taken:
            continue
        found[node.name] = node
        left += [tensor for tensor in node.inputs if tensor not in starts]
    return [node for node in graph.nodes if node.name in found]
