"""The work of each node of a sized graph: operations, what it reads and writes, and at which precision it computes.

A multiply-add is two operations. Of other operators, an element of the output is one operation, of Softmax five
(maximum, difference, exponential, sum, quotient) and of a norm eight (mean, difference, square, its mean, reciprocal
root, product, scale, shift). Copies count too, to have a rate, but are no FLOPs. How much slower an exponential is than
a sum is the machine's business: see `rates`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from onnx import NodeProto

from edgeattn.errors import ModelError
from edgeattn.estimate.contrib import attribute
from edgeattn.estimate.graph import SizedGraph
from edgeattn.estimate.tensor import Tensor
from edgeattn.quantize.arithmetic import Precision

Kind = Literal[
    "product", "attention", "depthwise", "softmax", "norm", "reduction", "transcendental", "elementwise", "copy"
]

# Their output is their input under another name.
_VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout"}
_COPIES = {
    "Transpose", "Concat", "Slice", "Gather", "GatherElements", "GatherND", "Expand", "Split", "Pad", "Tile",
    "ScatterElements", "ScatterND", "DepthToSpace", "SpaceToDepth", "Resize",
}  # fmt: skip
_TRANSCENDENTAL = {
    "Exp", "Log", "Erf", "Gelu", "Tanh", "Sigmoid", "Softplus", "Sin", "Cos", "Pow", "Elu", "Mish", "Selu", "Swish",
}  # fmt: skip
_SOFTMAX_OPS, _NORM_OPS = 5, 8
_PER_ELEMENT: Mapping[str, tuple[Kind, int]] = {
    **dict.fromkeys(_COPIES, ("copy", 1)),
    **dict.fromkeys(_TRANSCENDENTAL, ("transcendental", 1)),
    **dict.fromkeys(("Softmax", "LogSoftmax"), ("softmax", _SOFTMAX_OPS)),
    **dict.fromkeys(
        ("LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization"), ("norm", _NORM_OPS)
    ),
}
_REDUCTIONS = ("Reduce", "ArgM", "CumSum", "TopK", "GlobalAveragePool", "GlobalMaxPool")  # one operation per input
_INTEGER = {"MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv"}
_INT8_INPUTS = 4  # MatMulNBits' accuracy_level at which it quantizes its input at run time
_CONTROL = {"If", "Loop", "Scan"}
_UPDATES = {b"linear": 4, b"gated": 5, b"delta": 8, b"gated_delta": 9}  # operations per element of the state


@dataclass(frozen=True)
class Work:
    """What one node does.

    reads, writes: name of a tensor -> its bytes. weights: those of `reads` that are constant.
    """

    name: str
    op_type: str
    kind: Kind
    precision: Precision
    ops: float
    reads: Mapping[str, float]
    writes: Mapping[str, float]
    weights: frozenset[str]


@dataclass(frozen=True)
class Counted:
    """The work of a graph, in the order of its nodes.

    outputs: names of the graph's outputs. sizes: the number of tensors that hold only sizes.
    """

    works: tuple[Work, ...]
    outputs: frozenset[str]
    sizes: int

    @property
    def flops(self) -> float:
        return sum(work.ops for work in self.works if work.kind != "copy")


def count(graph: SizedGraph) -> Counted:
    """The work of `graph`. What is computed from weights and sizes alone is done once, and is no work.

    Raises ModelError for a loop or a branch, whose work depends on data.
    """
    base: dict[str, str] = {}  # a tensor -> the tensor that is read in its place
    quantized: set[str] = set()  # tensors that are int8 where a product reads them
    readers = _readers(graph)
    sizes: set[str] = set()  # tensors that an interpreter computes from sizes, at each inference
    works = []
    for node in graph.nodes:
        inputs = [base.get(name, name) for name in node.input if name]
        out = node.output[0]
        if node.op_type in _CONTROL:
            raise ModelError(f"the estimate does not count {node.op_type}", where=f"node {node.name}")
        if node.op_type == "DequantizeLinear" and (
            graph.tensors[out].constant or all(_is_product(reader) for reader in readers.get(out, ()))
        ):
            base[out] = inputs[0]
            quantized.add(inputs[0])
        elif graph.tensors[out].constant:
            if node.op_type in (*_VIEWS, "Transpose"):
                base[out] = inputs[0]
            if node.op_type == "Shape" or not sizes.isdisjoint(inputs):
                sizes.update(node.output)
        elif node.op_type in _VIEWS:
            base[out] = inputs[0]
        else:
            works.append(_work(node, graph.tensors, inputs, quantized))
    outputs = frozenset(base.get(name, name) for name in graph.outputs)
    return Counted(tuple(works), outputs, len(sizes))


def _readers(graph: SizedGraph) -> dict[str, list[NodeProto]]:
    found: dict[str, list[NodeProto]] = {}
    for node in graph.nodes:
        for name in node.input:
            found.setdefault(name, []).append(node)
    return found


def _is_product(node: NodeProto) -> bool:
    return node.op_type in _PRODUCTS


def _work(node: NodeProto, tensors: Mapping[str, Tensor], inputs: Sequence[str], quantized: set[str]) -> Work:
    out = tensors[node.output[0]]
    kind: Kind
    precision: Precision
    if rule := _PRODUCTS.get(node.op_type):
        kind, ops = rule(node, [tensors.get(name) for name in node.input], out)
        precision = _precision_of_product(node, tensors, inputs, quantized)
    elif node.op_type.startswith(_REDUCTIONS):
        kind, ops, precision = "reduction", tensors[inputs[0]].elements, _precision(tensors[inputs[0]])
    else:
        kind, each = _PER_ELEMENT.get(node.op_type, ("elementwise", 1))
        ops, precision = each * out.elements, _precision(out)
    reads = {name: tensors[name].bytes for name in inputs}
    if node.op_type.startswith("Gather"):  # the rows that it takes, not the whole table
        reads[inputs[0]] = out.bytes
    writes = {name: tensors[name].bytes for name in node.output if name}
    weights = frozenset(name for name in inputs if tensors[name].constant)
    return Work(node.name or node.op_type, node.op_type, kind, precision, ops, reads, writes, weights)


def _precision(tensor: Tensor) -> Precision:
    return "fp16" if tensor.kind in ("FLOAT16", "BFLOAT16") else "fp32"


def _precision_of_product(
    node: NodeProto, tensors: Mapping[str, Tensor], inputs: Sequence[str], quantized: set[str]
) -> Precision:
    if node.op_type == "MatMulNBits" and attribute(node, "accuracy_level", 0) == _INT8_INPUTS:
        return "int8"
    if node.op_type in _INTEGER:
        return "uint8" if tensors[inputs[0]].kind == "UINT8" else "int8"
    if quantized.issuperset(inputs[:2]):
        return "int8"
    return _precision(tensors[node.output[0]])


Inputs = Sequence["Tensor | None"]


def _shape(inputs: Inputs, place: int) -> tuple[int, ...]:
    tensor = inputs[place]
    assert tensor is not None
    return tensor.shape


def _matmul(node: NodeProto, inputs: Inputs, out: Tensor) -> tuple[Kind, float]:
    return "product", 2 * out.elements * _shape(inputs, 0)[-1]


def _gemm(node: NodeProto, inputs: Inputs, out: Tensor) -> tuple[Kind, float]:
    k = _shape(inputs, 0)[0 if attribute(node, "transA", 0) else 1]
    bias = out.elements if len(inputs) > 2 and inputs[2] is not None else 0
    return "product", 2 * out.elements * k + bias


def _conv(node: NodeProto, inputs: Inputs, out: Tensor, weight: int = 1, bias: int = 2) -> tuple[Kind, float]:
    """The weight is [C out, C in / groups, ...kernel]; with one channel in a group, no matrix unit helps."""
    kernel = _shape(inputs, weight)[1:]
    added = out.elements if len(inputs) > bias and inputs[bias] is not None else 0
    depthwise = attribute(node, "group", 1) > 1 and kernel[0] == 1
    return "depthwise" if depthwise else "product", 2 * out.elements * math.prod(kernel) + added


def _qlinear_conv(node: NodeProto, inputs: Inputs, out: Tensor) -> tuple[Kind, float]:
    return _conv(node, inputs, out, weight=3, bias=8)


def _conv_transpose(node: NodeProto, inputs: Inputs, out: Tensor) -> tuple[Kind, float]:
    """The weight is [C in, C out / groups, ...kernel], and each element of the input meets all of its channel's."""
    data, weight = _shape(inputs, 0), _shape(inputs, 1)
    return "product", 2 * math.prod(data) * math.prod(weight[1:])


def _einsum(node: NodeProto, inputs: Inputs, out: Tensor) -> tuple[Kind, float]:
    """Every combination of its indices is one multiply-add."""
    equation = next(each.s for each in node.attribute if each.name == "equation").decode().replace(" ", "")
    sizes: dict[str, int] = {}
    for term, tensor in zip(equation.partition("->")[0].split(","), inputs, strict=True):
        if "." in term or tensor is None:
            raise ModelError(f"the estimate does not count Einsum {equation!r}", where=f"node {node.name}")
        sizes |= dict(zip(term, tensor.shape, strict=True))
    return "product", 2 * math.prod(sizes.values())


def _attention(node: NodeProto, inputs: Inputs, out: Tensor) -> tuple[Kind, float]:
    """q [B, H, N, D] or [B, N, H D], k and v of M tokens: two products and a softmax of the scores [B, H, N, M]."""
    query, key = _shape(inputs, 0), _shape(inputs, 1)
    heads = query[1] if len(query) == 4 else attribute(node, "q_num_heads", attribute(node, "num_heads", 1))
    width = query[3] * heads if len(query) == 4 else query[-1]
    values = out.shape[3] * heads if len(out.shape) == 4 else out.shape[-1]
    pairs = query[0] * query[-2] * key[-2]
    if attribute(node, "unidirectional", 0) or attribute(node, "is_causal", 0):
        pairs //= 2
    return "attention", pairs * (2 * (width + values) + _SOFTMAX_OPS * heads)


def _linear_attention(node: NodeProto, inputs: Inputs, out: Tensor) -> tuple[Kind, float]:
    """q, k [B, N, H D], v [B, N, H Dv]: each token updates and reads a state [H, D, Dv]."""
    key, value = _shape(inputs, 1), _shape(inputs, 2)
    heads = attribute(node, "kv_num_heads", attribute(node, "q_num_heads", 1))
    rule = next((each.s for each in node.attribute if each.name == "update_rule"), b"linear")
    return "product", _UPDATES.get(rule, 4) * key[0] * key[1] * key[-1] * value[-1] / heads


_PRODUCTS: Mapping[str, Callable[[NodeProto, Inputs, Tensor], tuple[Kind, float]]] = {
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "MatMulNBits": _matmul,
    "QLinearMatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _conv,
    "ConvInteger": _conv,
    "QLinearConv": _qlinear_conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
    "Attention": _attention,
    "MultiHeadAttention": _attention,
    "LinearAttention": _linear_attention,
}
