"""Rewrites that make an exported graph cheaper and change its results by rounding only."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

_SWAP_HEADS = [0, 2, 1, 3]  # [B, N, H, D] <-> [B, H, N, D]


def rewrite(graph: ir.Model) -> dict[str, int]:
    """Applies every rewrite to `graph`, in place. Returns how often each one fired."""
    counts = {"fold_head_maps": fold_head_maps(graph)}
    common.RemoveUnusedNodesPass()(graph)
    common.TopologicalSortPass()(graph)
    return counts


def fold_head_maps(model: ir.Model) -> int:
    """Folds a per-head linear map into the projection before it, and returns how many were.

    x W -> + b -> Reshape [B, N, H, D] -> Transpose [B, H, N, D] -> MatMul [H, D, F]  becomes
    x (W M) -> + b M -> Reshape [B, N, H, F] -> Transpose [B, H, N, F]: one batched product fewer, and a narrower
    projection where F < D.
    """
    done = 0
    for head in _nodes(model, "MatMul"):
        weight = _constant(head.inputs[1])
        if weight is None or weight.ndim != 3:
            continue
        transpose = _sole_producer(head.inputs[0], "Transpose")
        if transpose is None or list(transpose.attributes.get_ints("perm", [])) != _SWAP_HEADS:
            continue
        reshape = _sole_producer(transpose.inputs[0], "Reshape")
        projection = _projection(reshape.inputs[0]) if reshape is not None else None
        if reshape is None or projection is None:
            continue
        product, matrix, bias = projection
        heads, d, f = weight.shape
        if matrix.shape[1] != heads * d:
            continue
        folded = np.einsum("chd,hdf->chf", matrix.reshape(-1, heads, d), weight).reshape(-1, heads * f)
        out = ir.node("MatMul", [product.inputs[0], _initializer(model, f"{head.name}.folded", folded)])
        out.metadata_props.update(product.metadata_props)  # reports name the module that it was
        nodes = [out]
        if bias is not None:
            shifted = np.einsum("hd,hdf->hf", bias.reshape(heads, d), weight).reshape(-1)
            nodes.append(ir.node("Add", [out.outputs[0], _initializer(model, f"{head.name}.bias", shifted)]))
        shape = _initializer(model, f"{head.name}.shape", np.array([0, 0, heads, f], np.int64))
        nodes.append(ir.node("Reshape", [nodes[-1].outputs[0], shape]))
        nodes.append(ir.node("Transpose", [nodes[-1].outputs[0]], {"perm": _SWAP_HEADS}))
        leading = list(product.outputs[0].shape or [])[:-1]
        for node, tail in zip(nodes, [[heads * f]] * (len(nodes) - 2) + [[heads, f], None], strict=True):
            _describe(node, head.outputs[0], [*leading, *tail] if tail and leading else None)
            node.name = f"{head.name}.{node.op_type.lower()}"
        nodes[-1].outputs[0].shape = head.outputs[0].shape
        model.graph.insert_before(head, nodes)
        head.outputs[0].replace_all_uses_with(nodes[-1].outputs[0])
        model.graph.remove(head, safe=True)
        done += 1
    return done


def _nodes(model: ir.Model, op_type: str) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == op_type and node.domain == ""]


def _constant(value: ir.Value | None) -> np.ndarray | None:
    return None if value is None or value.const_value is None else value.const_value.numpy()


def _sole_producer(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node that computes `value`, if it is an `op_type` and no other node reads the value."""
    node = value.producer() if value is not None else None
    single = value is not None and len(value.uses()) == 1 and not value.is_graph_output()
    return node if single and node is not None and node.op_type == op_type else None


def _projection(value: ir.Value) -> tuple[ir.Node, np.ndarray, np.ndarray | None] | None:
    """(product, matrix [C, K], bias [K] or None) if `value` is x W or x W + b with constant W and b."""
    bias = None
    add = _sole_producer(value, "Add")
    if add is not None:
        value, other = add.inputs if _constant(add.inputs[1]) is not None else reversed(add.inputs)
        bias = _constant(other)
        if bias is None or bias.ndim != 1:
            return None
    product = _sole_producer(value, "MatMul")
    matrix = _constant(product.inputs[1]) if product is not None else None
    if product is None or matrix is None or matrix.ndim != 2:
        return None
    return product, matrix, bias


def _initializer(model: ir.Model, name: str, array: np.ndarray) -> ir.Value:
    tensor = ir.tensor(np.ascontiguousarray(array), name=name)
    value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    model.graph.register_initializer(value)
    return value


def _describe(node: ir.Node, like: ir.Value, shape: list[object] | None) -> None:
    node.outputs[0].dtype = like.dtype
    node.outputs[0].shape = ir.Shape(shape) if shape is not None else None
