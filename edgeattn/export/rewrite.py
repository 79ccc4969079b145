"""Rewrites that make an exported graph cheaper and change its results by rounding only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from edgeattn.errors import ToolError

_AXES_ARE_AN_INPUT = 18  # of ReduceMean
_SWAP_HEADS = [0, 2, 1, 3]  # [B, N, H, D] <-> [B, H, N, D]


def rewrite(graph: ir.Model) -> dict[str, int]:
    """Applies every rewrite to `graph`, in place. Returns how often each one fired."""
    counts = {"fold_head_maps": fold_head_maps(graph), "compare_truths": compare_truths(graph)}
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


def compare_truths(model: ir.Model) -> int:
    """Writes Equal of two booleans as Not(Xor), and returns how many there were.

    TensorRT compares numbers only (NvInfer.h, ElementWiseOperation); torch compares signs in a division that rounds
    down.
    """
    done = 0
    for equal in _nodes(model, "Equal"):
        if all(value is not None and value.dtype == ir.DataType.BOOL for value in equal.inputs):
            differs = ir.node("Xor", list(equal.inputs), name=f"{equal.name}.xor")
            same = ir.node("Not", [differs.outputs[0]], name=f"{equal.name}.not")
            for node in (differs, same):
                _describe(node, equal.outputs[0], list(equal.outputs[0].shape or []) or None)
            _replace(model, equal, [differs, same])
            done += 1
    return done


def write_out_layer_norms(graph: Path) -> int:
    """Writes each LayerNormalization of an ONNX file out in fp32, in place, and returns how many there were.

    (x - mean) / sqrt(mean((x - mean) * (x - mean)) + epsilon) * scale + bias: without Pow, which overflows in fp16
    (daquexian/onnx-simplifier#1742). For a parser without the operator, as TensorRT 8.5 is. Weights stay in their file.
    """
    model = ir.load(graph)
    norms = [node for node in _nodes(model, "LayerNormalization") if len(node.outputs) == 1]
    for norm in norms:
        _write_out(model, norm)
    if norms:
        ir.save(model, graph)
    return len(norms)


def _write_out(model: ir.Model, norm: ir.Node) -> None:
    x, scale, bias = (*norm.inputs, None)[:3]
    out = norm.outputs[0]
    axis = norm.attributes.get_int("axis", -1)
    if axis >= 0:
        shape = x.shape if x is not None else None
        axis -= len(shape or ())
        if shape is None:
            raise ToolError(f"{norm.name}: an axis counted from the front, of an input of unknown rank")
    axes = list(range(axis, 0))
    half = x is not None and x.dtype not in (None, ir.DataType.FLOAT)
    nodes: list[ir.Node] = []

    def add(operator: str, inputs: list[ir.Value | None], attributes: dict[str, Any] | None = None) -> ir.Value:
        node = ir.node(operator, inputs, attributes or {}, name=f"{norm.name}.{len(nodes)}.{operator.lower()}")
        node.outputs[0].dtype = ir.DataType.FLOAT
        nodes.append(node)
        return node.outputs[0]

    def mean(value: ir.Value) -> ir.Value:
        if model.opset_imports[""] < _AXES_ARE_AN_INPUT:
            return add("ReduceMean", [value], {"axes": axes, "keepdims": 1})
        given = _initializer(model, f"{norm.name}.{len(nodes)}.axes", np.array(axes, np.int64))
        return add("ReduceMean", [value, given], {"keepdims": 1})

    def single(value: ir.Value | None) -> ir.Value | None:
        return add("Cast", [value], {"to": int(ir.DataType.FLOAT)}) if half and value is not None else value

    value = single(x)
    assert value is not None
    centred = add("Sub", [value, mean(value)])
    epsilon = _initializer(
        model, f"{norm.name}.epsilon", np.array(norm.attributes.get_float("epsilon", 1e-5), np.float32)
    )
    spread = add("Sqrt", [add("Add", [mean(add("Mul", [centred, centred])), epsilon])])
    value = add("Mul", [add("Div", [centred, spread]), single(scale)])
    if bias is not None:
        value = add("Add", [value, single(bias)])
    if half:
        value = add("Cast", [value], {"to": int(x.dtype)})  # type: ignore[union-attr, arg-type]
    nodes[-1].outputs[0].dtype, nodes[-1].outputs[0].shape = out.dtype, out.shape
    _replace(model, norm, nodes)


def _replace(model: ir.Model, old: ir.Node, nodes: list[ir.Node]) -> None:
    """Puts nodes in the place of one, whose output the last of them makes, under the same name."""
    out, new = old.outputs[0], nodes[-1].outputs[0]
    model.graph.insert_before(old, nodes)
    ir.convenience.replace_all_uses_with(out, new, replace_graph_outputs=True)
    name = out.name
    model.graph.remove(old, safe=True)
    new.name = name


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
