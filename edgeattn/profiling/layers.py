"""The layer of the model that each node of its graph belongs to, by the torch modules that the graph still names.

Layers are counted in the order in which they run, as the plan of a bundle counts them. A node outside of them is
before or after them; with no names to go by, it is in `OTHER`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from edgeattn.runtimes.nodes import Node, Nodes

BEFORE, AFTER, OTHER = "before", "after", "other"
ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)  # in the name of a module


def modules_of(nodes: Nodes) -> dict[str, str]:
    """Node -> the torch module that it comes from, where its own note, or one that rewriting left it, names it.

    Rewriting a node into several keeps its name, "node_layer_norm.0.reducemean", or the names of its weights.
    """
    found = {node.name: node.module for node in nodes.nodes if node.module is not None}
    roots = {module.partition(".")[0] for module in found.values()} - {""}
    groups: dict[str, str] = {}
    for node in nodes.nodes:
        owner = next((name.rpartition(".")[0] for name in node.inputs if name in nodes.weights and "." in name), "")
        if node.name not in found and owner.partition(".")[0] in roots:
            found[node.name] = owner
        if found.get(node.name):
            groups.setdefault(_group(node), found[node.name])
    for node in nodes.nodes:
        if node.name not in found and "." in node.name and _group(node) in groups:
            found[node.name] = groups[_group(node)]
    return found


def _group(node: Node) -> str:
    return node.name.partition(".")[0]


def layers_of(nodes: Nodes, modules: Mapping[str, str]) -> dict[str, str]:
    """Node -> "0" to "n", BEFORE or AFTER; OTHER for all nodes of a graph without layers. modules: of `modules_of`."""
    prefixes = _prefixes([modules[node.name] for node in nodes.nodes if node.name in modules])
    if not prefixes:
        return {node.name: OTHER for node in nodes.nodes}
    number = {prefix: str(place) for place, prefix in enumerate(prefixes)}
    own = {name: number[prefix] for name, module in modules.items() if (prefix := _prefix_of(module, prefixes))}
    later = _nearest(reversed(nodes.nodes), own, lambda node: _after(node, nodes))
    earlier = _nearest(nodes.nodes, own, lambda node: _before(node, nodes))
    return {node.name: _place(node, own, modules, earlier, later) for node in nodes.nodes}


def _place(
    node: Node,
    own: Mapping[str, str],
    modules: Mapping[str, str],
    earlier: Mapping[str, str],
    later: Mapping[str, str],
) -> str:
    """earlier, later: node -> the nearest layer that it depends on, and that depends on it."""
    if node.name in own:
        return own[node.name]
    if node.name not in earlier:
        # A node with a name of its own is outside; one without, such as a quantization, is part of what reads it.
        return BEFORE if node.name in modules or node.name not in later else later[node.name]
    if node.name not in later:
        return AFTER
    return earlier[node.name] if node.name in modules else later[node.name]


def _nearest(nodes: Iterable[Node], own: Mapping[str, str], beside: Callable[[Node], Iterable[Node]]) -> dict[str, str]:
    """Node -> the layer of the nearest node that `beside` leads to. nodes: so that those come first."""
    found: dict[str, str] = {}
    for node in nodes:
        layers = [own.get(other.name) or found.get(other.name) for other in beside(node)]
        if layer := next((each for each in layers if each), None):
            found[node.name] = layer
    return found


def _before(node: Node, nodes: Nodes) -> list[Node]:
    return [nodes.maker[tensor] for tensor in node.inputs if tensor in nodes.maker]


def _after(node: Node, nodes: Nodes) -> list[Node]:
    return [reader for tensor in node.outputs for reader in nodes.readers.get(tensor, ())]


def _prefixes(modules: Sequence[str]) -> list[str]:
    """The modules that are layers, "encoder.layer.3", in order: those with an attention inside, else the outermost of
    a numbered list."""
    within = dict.fromkeys(_numbered(module, ATTENTION) for module in modules)
    found = [prefix for prefix in within if prefix]
    found = found or [prefix for prefix in dict.fromkeys(_numbered(module, None) for module in modules) if prefix]
    lists = list(dict.fromkeys(map(_list_of, found)))
    # By number: what layers compute from sizes alone may be written before all of them.
    return sorted(found, key=lambda prefix: (lists.index(_list_of(prefix)), _numbers_in(prefix)))


def _list_of(prefix: str) -> str:
    """ "encoder.layer.*" of "encoder.layer.3"."""
    return ".".join("*" if part.isdigit() else part for part in prefix.split("."))


def _numbers_in(prefix: str) -> list[int]:
    return [int(part) for part in prefix.split(".") if part.isdigit()]


def _numbered(module: str, inside: re.Pattern[str] | None) -> str | None:
    """The prefix of a module's path up to a number: the last before a part that `inside` matches, else the first."""
    parts = module.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdigit()]
    if inside is not None:
        end = next((place for place, part in enumerate(parts) if inside.search(part)), 0)
        numbers = [place for place in numbers if place < end][-1:]
    return ".".join(parts[: numbers[0] + 1]) if numbers else None


def _prefix_of(module: str, prefixes: Sequence[str]) -> str | None:
    """The layer that a module is in, or shares the longest numbered part of its path with; the last of equal ones.

    T5's block.0.layer.1 has no attention of its own, and is in the layer of block.0.layer.0.
    """
    parts = module.split(".")
    best, shared = None, 0
    for prefix in prefixes:
        others = prefix.split(".")
        same = next((place for place, pair in enumerate(zip(parts, others, strict=False)) if pair[0] != pair[1]),
                    min(len(parts), len(others)))  # fmt: skip
        numbered = any(part.isdigit() for part in parts[:same])
        if numbered and same >= shared:
            best, shared = prefix, same
    return best
