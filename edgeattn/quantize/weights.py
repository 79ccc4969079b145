"""The weights of a graph: the file beside it that holds them, and the layers that multiply by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeattn.errors import ModelError
from edgeattn.export import MODULES


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


def row_layers(model: Any) -> set[str]:
    """The linear layers of one row per sample, [batch, C], such as a classifier's head: products of a vector, where
    int8 gains nothing. As far as the shapes of the graph are known."""
    graph = model.graph
    dims = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info)
    }
    batch = next((dims[value.name][0] for value in graph.input if dims[value.name]), None)
    shapes = {node.name: dims.get(node.input[0], []) for node in graph.node if node.input}
    return {name for name in linear_layers(model) if len(shapes[name]) == 2 and shapes[name][0] == batch}


def require_finite(graph: Path) -> None:
    """Raise ModelError where a weight of the graph is NaN or infinite. A mask, of zeros and infinities, may be."""
    import numpy as np
    import onnx_ir as ir

    for name, value in ir.load(graph).graph.initializers.items():
        if value.const_value is None or not value.const_value.dtype.is_floating_point():
            continue
        array = value.const_value.numpy()
        bad = ~np.isfinite(array)
        if bad.any() and (np.isnan(array).any() or array[~bad].any()):
            raise ModelError(
                f"weight {name!r} has {int(bad.sum())} values that are NaN or infinite",
                where=graph.name,
                fix="train again with a lower learning rate, or check the teacher's weights",
            )


def layer_name(node: Any) -> str:
    """The torch module that a node of an exported graph comes from, such as encoder.layer.0.output.dense; else its own
    name."""
    from ast import literal_eval

    scopes = next((entry.value for entry in node.metadata_props if entry.key == MODULES), None)
    modules = literal_eval(scopes)[:-1] if scopes else []
    return str(modules[-1]) if modules and modules[-1] else str(node.name)
