"""What an fp16 graph computes, on a processor without fp16.

ONNX Runtime's CPU kernels compute most fp16 nodes in fp32 and round nothing between them, so that an overflow is not
seen. Here every value that is fp16 is rounded to it, and products are summed in fp32, as tensor cores do.
"""

from __future__ import annotations

import onnx_ir as ir

ROUNDED = ".rounded."  # in the names of the values of the pairs
FLOAT, FLOAT16 = ir.DataType.FLOAT, ir.DataType.FLOAT16


def rounded(half: ir.Model) -> ir.Model:
    """The graph `half` in fp32, with each fp16 value rounded by a pair of casts; `half` is changed."""
    graph = half.graph
    for constant in list(graph.initializers.values()):
        if constant.dtype is FLOAT16:
            wide = _cast(constant, FLOAT)
            constant.replace_all_uses_with(wide.outputs[0])
            wide.replace_input_with(0, constant)
            graph.insert_before(graph[0], wide)
    for node in list(graph):
        for name, attribute in list(node.attributes.items()):
            if attribute.type is ir.AttributeType.TENSOR and attribute.value.dtype is FLOAT16:
                node.attributes[name] = ir.AttrTensor(name, ir.tensor(attribute.value.numpy().astype("float32")))
        for value in node.outputs:
            if value.dtype is not FLOAT16:
                continue
            if node.op_type == "Cast":
                node.attributes["to"] = ir.AttrInt64("to", FLOAT)
            value.dtype = FLOAT
            narrow = _cast(value, FLOAT16)
            wide = _cast(narrow.outputs[0], FLOAT)
            value.replace_all_uses_with(wide.outputs[0])
            narrow.replace_input_with(0, value)
            graph.insert_after(node, [narrow, wide])
    return half


def _cast(value: ir.Value, to: ir.DataType) -> ir.Node:
    node = ir.node("Cast", [value], {"to": to})
    node.outputs[0].dtype, node.outputs[0].shape = to, value.shape
    node.outputs[0].name = f"{value.name}{ROUNDED}{to.name.lower()}"
    return node
