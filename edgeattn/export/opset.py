"""Opset 17, the highest of TensorRT 8.5 and 8.6 (JetPack 5): torch writes 18 and later, and onnx's own converter cannot
convert operators whose form changed in 18 back.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeattn.errors import ToolError

LOWEST = 17
EXPORTED = 18  # the lowest opset that torch's exporter writes by itself
_IR_VERSION = 8  # of opset 17
# Reductions that take axes as an attribute before 18. ReduceSum takes them as an input since 13.
_REDUCTIONS = {"ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
               "ReduceProd", "ReduceSumSquare"}  # fmt: skip
_NEW_IN_18 = {"BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "CenterCropPad", "Col2Im", "GroupNormalization",
              "Mish", "OptionalGetElement"}  # fmt: skip


def lower_to_17(model: ir.Model) -> None:
    """Rewrites a graph of opset 18 into 17, in place. Raises ToolError for an operator that 17 does not have."""
    for node in model.graph.all_nodes():
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type in _NEW_IN_18:
            raise ToolError(f"opset 17 has no {node.op_type}", where=f"node {node.name}", fix="use export.opset 18")
        if node.op_type in _REDUCTIONS:
            _axes_as_attribute(node)
        elif node.op_type == "Pad":
            if len(node.inputs) > 3 and node.inputs[3] is not None:
                raise ToolError("opset 17 has no Pad with axes", where=f"node {node.name}", fix="use export.opset 18")
        elif node.op_type == "Split":
            node.attributes.pop("num_outputs", None)  # without sizes, opset 17 splits into equal parts
    model.opset_imports[""] = LOWEST
    model.ir_version = _IR_VERSION


def _axes_as_attribute(node: ir.Node) -> None:
    if len(node.inputs) < 2 or node.inputs[1] is None:
        return
    axes = ir.convenience.get_const_tensor(node.inputs[1])
    if axes is None:
        raise ToolError(f"opset 17 has no {node.op_type} over computed axes", where=f"node {node.name}")
    node.attributes.add(ir.AttrInt64s("axes", [int(axis) for axis in axes.numpy().reshape(-1)]))
    node.attributes.pop("noop_with_empty_axes", None)
    node.resize_inputs(1)
