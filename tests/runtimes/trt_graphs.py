"""Small graphs for TensorRT, and shapes to build them for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeattn.runtimes.base import ShapeRange, ShapeRanges

WIDTH = 16


def lengths(*most: int, inputs: Sequence[str] = ("input_ids", "attention_mask")) -> ShapeRanges:
    """Shape ranges of [1, length] inputs: one for each of the lengths in `most`, each from the one before."""
    starts = (1, *(each + 1 for each in most[:-1]))
    return [
        dict.fromkeys(inputs, ShapeRange((1, start), (1, end), (1, end)))
        for start, end in zip(starts, most, strict=True)
    ]


def rows(*most: int) -> ShapeRanges:
    """Shape ranges of the input `x` [rows, WIDTH] of the graphs below."""
    starts = (1, *(each + 1 for each in most[:-1]))
    return [
        {"x": ShapeRange((start, WIDTH), (end, WIDTH), (end, WIDTH))} for start, end in zip(starts, most, strict=True)
    ]


def model(nodes: Sequence[onnx.NodeProto], **weights: np.ndarray) -> onnx.ModelProto:
    """x -> y, float32 [rows, WIDTH], opset 17."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", WIDTH]) for name in "xy")
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "small", [x], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def weight(dtype: type = np.float32) -> np.ndarray:
    """[WIDTH, WIDTH]."""
    return np.random.default_rng(0).normal(size=(WIDTH, WIDTH)).astype(dtype)


def fp16() -> onnx.ModelProto:
    """A product in fp16 by casts in the graph, the softmax behind it in fp32."""
    node = helper.make_node
    nodes = [
        node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        node("MatMul", ["h", "w"], ["p"]),
        node("Cast", ["p"], ["f"], to=TensorProto.FLOAT),
        node("Softmax", ["f"], ["y"], axis=-1),
    ]
    return model(nodes, w=weight(np.float16))


def int8() -> onnx.ModelProto:
    """A product of int8 by explicit, symmetric QDQ: a scale for the activations, one per channel for the weights."""
    node = helper.make_node
    w = weight()
    scale = (np.abs(w).max(0) / 127).astype(np.float32)
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"], axis=1),
        node("MatMul", ["xd", "wd"], ["p"]),
        node("Relu", ["p"], ["y"]),
    ]
    return model(
        nodes, xs=np.float32(0.03), xz=np.int8(0), ws=scale, wz=np.zeros(WIDTH, np.int8),
        wq=np.round(w / scale).astype(np.int8),
    )  # fmt: skip


def refused() -> onnx.ModelProto:
    """With dynamic quantization, as ONNX Runtime's int8 does, which TensorRT does not have."""
    node = helper.make_node
    nodes = [
        node("Relu", ["x"], ["r"], name="first"),
        node("DynamicQuantizeLinear", ["r"], ["q", "s", "z"], name="layer.0/quantize"),
        node("DequantizeLinear", ["q", "s", "z"], ["y"], name="last"),
    ]
    return model(nodes)


def mixed_types() -> onnx.ModelProto:
    """A sum of fp16 and fp32, which strong typing refuses. ONNX does too, but is not asked."""
    node = helper.make_node
    nodes = [
        node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        node("Add", ["h", "x"], ["y"], name="layer.0/residual"),
    ]
    return model(nodes)
