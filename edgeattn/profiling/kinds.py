"""The kind of work that a node of a graph does, and an operator that runs several nodes."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal

from edgeattn.profiling.layers import ATTENTION, OTHER
from edgeattn.runtimes.nodes import Node, Nodes

Kind = Literal[
    "attention", "matmul", "norm", "activation", "elementwise", "reduction", "embedding", "data movement",
    "quantization", "fused", "other",
]  # fmt: skip

_PRODUCTS = ("MatMul", "Gemm", "Conv", "Einsum", "QLinearMatMul", "QLinearConv", "FullyConnected", "FusedMatMul",
             "DynamicQuantizeMatMul")  # fmt: skip
_ATTENTIONS = ("Attention", "MultiHeadAttention", "LinearAttention", "GroupQueryAttention", "ScaledDotProduct", "SDPA")
_NORMS = ("LayerNorm", "RMSNorm", "InstanceNorm", "GroupNorm", "BatchNorm", "SkipLayerNorm", "SimplifiedLayerNorm",
          "MVN", "RMS", "Normalize")  # fmt: skip
_ACTIVATIONS = ("Gelu", "FastGelu", "BiasGelu", "QuickGelu", "Relu", "LeakyRelu", "Tanh", "Sigmoid", "HardSigmoid",
                "Erf", "Elu", "Celu", "Selu", "Softplus", "Swish", "HardSwish", "HSwish", "Mish", "Softmax",
                "LogSoftmax", "PRelu")  # fmt: skip
_REDUCTIONS = ("Reduce", "ArgM", "TopK", "CumSum", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "AveragePool",
               "AvgPool", "Pooling")  # fmt: skip
_COPIES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Transpose", "Concat", "Slice", "StridedSlice",
           "Gather", "Expand", "Split", "VariadicSplit", "Pad", "Tile", "Scatter", "DepthToSpace", "SpaceToDepth",
           "Resize", "Cast", "Convert", "Shape", "ShapeOf", "Broadcast", "Constant", "Reorder", "Reformat", "Memcpy",
           "NoOp", "Shuffle", "Copy", "Range", "Trilu", "NonZero", "Size", "Roll", "Interpolate",
           "ReverseSequence")  # fmt: skip
_ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Neg", "Exp", "Log", "Abs", "Sin", "Cos", "Where", "Select",
                "Min", "Max", "Clip", "Clamp", "Equal", "Greater", "Less", "And", "Or", "Xor", "Not", "Reciprocal",
                "Floor", "Ceil", "Round", "Sign", "Mod", "Sum", "IsNaN", "Eltwise", "Subgraph", "PointWise",
                "ElementWise", "Unary", "Scale", "Logical")  # fmt: skip
_NORM_NODE = re.compile(r"(layer|rms|group|batch|instance)_?norm", re.IGNORECASE)  # in what torch calls it
_NORM_MODULE = re.compile(r"norm|^ln(_|\d|$)", re.IGNORECASE)  # in the last part of a module's path
_ACTIVATION = re.compile(r"(^|_)act(ivation)?(_fn)?$", re.IGNORECASE)
_QUANTIZES = re.compile(r"quantize(?!d?matmul)", re.IGNORECASE)
_CORE = re.compile(r"^(self|edgeattn)$")  # parts of a path to the inside of an attention, beside its own name

# Operators of runtimes that only move what lies between others, however they are named.
_OWN_COPIES = ("Reorder", "Reformat", "Convert", "Memcpy", "NoOp")
_ORDER: tuple[Kind, ...] = (
    "norm", "attention", "embedding", "activation", "reduction", "elementwise", "quantization", "data movement",
)  # fmt: skip


def kind_of(node: Node, module: str, layer: str, nodes: Nodes) -> Kind:
    """The kind of a node of a bundle's graph. module, layer: of it, "" and OTHER where nothing is known."""
    op, inside = node.op_type, layer.isdigit() or layer == OTHER
    own = module.rpartition(".")[2]
    if _QUANTIZES.search(op) or "smooth_quant" in node.name:
        return "quantization"
    if op in _ATTENTIONS:
        return "attention"
    if op.startswith(_PRODUCTS):
        activations = not any(tensor in nodes.constant for tensor in node.inputs[:2])
        return "attention" if activations and inside else "matmul"
    if op.startswith(_NORMS) or _NORM_MODULE.search(own) or _NORM_NODE.search(node.name):
        return "norm"
    if op == "Gather" and node.inputs[0] in nodes.constant and "embed" in module:
        return "embedding"
    if op in _COPIES or op.startswith(("Gather", "Scatter")):
        return "data movement"
    if (op == "Softmax" and inside) or _is_core(module):
        return "attention"
    if op in _ACTIVATIONS or _ACTIVATION.search(own):
        return "activation"
    return by_type(op)


def _is_core(module: str) -> bool:
    """Whether a module is an attention itself, or what stands in its place, and not one of its projections."""
    parts = module.split(".")
    return "edgeattn" in parts or bool(ATTENTION.search(parts[-1]) or (_CORE.match(parts[-1]) and len(parts) > 1))


def by_type(op: str) -> Kind:
    """The kind of an operator of which only the type is known, in ONNX's words or a runtime's."""
    families: tuple[tuple[Kind, tuple[str, ...]], ...] = (
        ("data movement", _OWN_COPIES), ("attention", _ATTENTIONS), ("matmul", _PRODUCTS), ("norm", _NORMS),
        ("reduction", _REDUCTIONS), ("activation", _ACTIVATIONS), ("data movement", _COPIES),
        ("elementwise", _ELEMENTWISE),
    )  # fmt: skip
    found = next((kind for kind, begins in families if op.lower().startswith(_lower(begins))), None)
    return found or ("quantization" if _QUANTIZES.search(op) else "other")


def _lower(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)


def together(op: str, kinds: Collection[tuple[Kind, str]]) -> Kind:
    """The kind of an operator that runs nodes of these (kind, ONNX operator)s, by the node that takes longest."""
    if op.startswith(_OWN_COPIES) or not kinds:
        return by_type(op)
    found = {kind for kind, _ in kinds}
    mixes = any(kind == "attention" and _is_heavy(each) for kind, each in kinds)
    if "matmul" in found:
        return "fused" if mixes else "matmul"
    if mixes:
        return "attention"
    return next((kind for kind in _ORDER if kind in found), "other")


def _is_heavy(op: str) -> bool:
    return op.startswith(_PRODUCTS) or op in _ATTENTIONS or op == "Softmax"
