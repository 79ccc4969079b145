"""Explicit quantization (QDQ): what TensorRT takes, and where pairs cost precision or time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from edgeattn.check.finding import Fault
from edgeattn.check.graph import Graph, Node
from edgeattn.check.parsers import Parser

_TYPES = "https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html"
_HELPER = "https://github.com/onnx/onnx-tensorrt (QuantDequantLinearHelper)"
_ATTENTION = "https://github.com/NVIDIA/TensorRT/issues/3724"
_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose")
_KEEP_FLOAT = ("LayerNormalization", "Softmax", "InstanceNormalization", "GroupNormalization", "BatchNormalization")
_PASSES = ("Reshape", "Transpose", "Identity", "Squeeze", "Unsqueeze", "Flatten")  # values go through unchanged


def quantization(graph: Graph, parser: Parser) -> Iterator[Fault]:
    """Quantization is signed and symmetric, with positive scales."""
    if parser.operators is None:
        return
    for node in graph.nodes:
        if node.operator in ("QuantizeLinear", "DequantizeLinear"):
            yield from _pair(graph, node)


def _pair(graph: Graph, node: Node) -> Iterator[Fault]:
    def fault(fact: str, remedy: str, source: str = _TYPES) -> Fault:
        return Fault("error", "symmetric-int8", node.name, node.operator, fact, source, remedy)

    point = node.input(2)
    kind, zero, scale = graph.types.get(point), graph.constant(point), graph.constant(node.input(1))
    if kind in ("UINT8", "UINT4", "UINT16"):
        yield fault(f"zero point of {kind}: TensorRT refuses it, or computes with INT8", "quantize signed: INT8")
    elif not point and node.operator == "QuantizeLinear" and not node.value("output_dtype", 0):
        yield fault("no zero point, which means UINT8: TensorRT computes with INT8", "give a zero point of INT8 zeros")
    if graph.types.get(node.input(0)) in ("INT4", "FP4"):
        shape = graph.shapes.get(node.input(0), ())
        if None not in shape and math.prod(size or 0 for size in shape) % 2:
            yield fault("an odd number of 4-bit values", "pad them to an even number", _HELPER)
    if zero is not None and np.any(zero.astype(np.float32)):
        yield fault("zero point that is not 0", "quantize symmetrically")
    if scale is not None and not np.all(scale.astype(np.float32) > 0):
        yield fault("scale that is not positive", "calibrate again", _HELPER)


def placement(graph: Graph, parser: Parser) -> Iterator[Fault]:
    """Pairs stand where TensorRT gains from them and outputs survive them."""
    if parser.operators is None:
        return
    for node in graph.nodes:
        quantized = [_dequantized(graph, name) for name in node.inputs]

        def fault(fact: str, source: str, remedy: str, node: Node = node) -> Fault:
            return Fault("warning", "quantized-placement", node.name, node.operator, fact, source, remedy)

        if node.operator in _PRODUCTS and any(quantized[:2]):
            activations = [name for name in node.inputs[:2] if not _of_weights(graph, name)]
            if not all(quantized[:2]):
                fact = "one of its two inputs is quantized: it is computed in float"
                yield fault(fact, _TYPES, "quantize both inputs, or neither")
            elif node.operator == "MatMul" and len(activations) == 2:
                fact = "a quantized product of two activations: slower above 512 tokens, and less precise"
                yield fault(fact, _ATTENTION, "leave attention's products in float")
        elif node.operator in _KEEP_FLOAT and any(quantized[:1]):
            yield fault("its input is quantized", _TYPES, "leave it in float")
        elif node.operator == "Add" and len(quantized) == 2 and all(quantized):
            yield fault("both inputs of a sum are quantized", _TYPES, "quantize only the one that is not the residual")


def _dequantized(graph: Graph, name: str) -> bool:
    node = graph.producers.get(name)
    while node is not None and node.operator in _PASSES:
        node = graph.producers.get(node.input(0))
    return node is not None and node.operator == "DequantizeLinear"


def _of_weights(graph: Graph, name: str) -> bool:
    """Whether the value depends on constants only, through QDQ and what passes values on."""
    node = graph.producers.get(name)
    while node is not None and node.operator in (*_PASSES, "QuantizeLinear", "DequantizeLinear", "Cast"):
        name = node.input(0)
        node = graph.producers.get(name)
    return graph.is_constant(name)
