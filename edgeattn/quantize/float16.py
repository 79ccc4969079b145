"""Converts a graph to fp16, by ONNX Runtime's converter, with casts around the nodes that stay in fp32."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common

FLOAT, FLOAT16 = ir.DataType.FLOAT, ir.DataType.FLOAT16


def load(path: Path) -> ir.Model:
    """The graph at `path`, with a name for each node and a type for each value; its weights stay in their file."""
    model = ir.load(path)
    common.LiftConstantsToInitializersPass()(model)
    common.ShapeInferencePass()(model)
    names = {node.name for node in model.graph}
    for index, node in enumerate(model.graph):
        if not node.name:
            name = f"{node.op_type}_{index}"
            node.name = name if name not in names else f"{name}_"
    return model


def to_float16(model: ir.Model, in_fp32: Collection[str]) -> ir.Model:
    """The same graph in fp16, except for these nodes and for its inputs and outputs, which stay as they are.

    model: of `load`; changed.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    _separate_constants(model, in_fp32)
    proto = ir.to_proto(ir.external_data.load_to_model(model))
    # The converter would take those of constants for computed values, and cast constants that nodes in fp32 read.
    constants = {constant.name for constant in proto.graph.initializer}
    computed = [value for value in proto.graph.value_info if value.name not in constants]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(computed)
    proto = convert_float_to_float16(
        proto,
        keep_io_types=True,
        disable_shape_infer=True,  # done, and of graphs above 2 GiB it cannot be done
        node_block_list=list(in_fp32),
    )
    half = ir.from_proto(proto)
    _remove_round_trips(half)
    common.RemoveUnusedNodesPass()(half)
    common.TopologicalSortPass()(half)
    return half


def _separate_constants(model: ir.Model, in_fp32: Collection[str]) -> None:
    """Gives the nodes in fp32 constants of their own: one that fp16 nodes read too would be rounded for both."""
    copies: dict[str, ir.Value] = {}
    for node in model.graph:
        if node.name not in in_fp32:
            continue
        for index, value in enumerate(node.inputs):
            if value is None or value.const_value is None or value.dtype is not FLOAT:
                continue
            if all(reader.name in in_fp32 for reader, _ in value.uses()):
                continue
            name = f"{value.name}.fp32"
            if name not in copies:
                copies[name] = ir.Value(name=name, shape=value.shape, type=value.type, const_value=value.const_value)
                model.graph.register_initializer(copies[name])
            node.replace_input_with(index, copies[name])


def _remove_round_trips(model: ir.Model) -> None:
    """Removes the cast to fp16 and back that the converter puts between two nodes in fp32."""
    outputs = model.graph.outputs
    for back in list(model.graph):
        there = back.inputs[0].producer() if back.op_type == "Cast" and back.inputs[0] is not None else None
        if there is None or there.op_type != "Cast" or back.attributes.get_int("to") != FLOAT:
            continue
        value, same = there.inputs[0], back.outputs[0]
        if there.attributes.get_int("to") != FLOAT16 or value is None or value.dtype is not FLOAT:
            continue
        if same.is_graph_output():
            if value.is_graph_input() or value.is_graph_output():
                continue
            same.name, value.name = f"{same.name}.fp16", same.name
            outputs[list(outputs).index(same)] = value
        same.replace_all_uses_with(value)
