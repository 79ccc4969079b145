"""The weights of a graph: the file beside it that holds them, and the layers that multiply by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def weights_of(graph: Path) -> Path:
    """The file that holds the weights of `graph`."""
    return graph.with_name(f"{graph.name}.data")


def linear_layers(model: Any) -> list[str]:
    """The names of the nodes of `model`, an onnx ModelProto, that multiply activations by a matrix of weights.

    Weights per head [H, D, F] are not among them.
    """
    rank = {weight.name: len(weight.dims) for weight in model.graph.initializer}
    nodes = model.graph.node
    return [node.name for node in nodes if node.op_type in ("MatMul", "Gemm") and rank.get(node.input[1]) == 2]
