"""The output sizes of ONNX Runtime's fused operators, which ONNX does not know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from onnx import NodeProto

from edgeattn.estimate.tensor import Tensor

Shapes = list[tuple[int, ...]]
Rule = Callable[[NodeProto, "Sequence[Tensor | None]"], Shapes]


def attribute(node: NodeProto, name: str, default: int) -> int:
    """The integer attribute of a node."""
    return next((int(each.i) for each in node.attribute if each.name == name), default)


def _shape(inputs: Sequence[Tensor | None], place: int) -> tuple[int, ...]:
    tensor = inputs[place]
    assert tensor is not None
    return tensor.shape


def _multi_head_attention(node: NodeProto, inputs: Sequence[Tensor | None]) -> Shapes:
    """query [B, N, H D], value [B, M, H Dv] -> [B, N, H Dv]."""
    query, value = _shape(inputs, 0), _shape(inputs, 2)
    width = value[-1] if len(value) == 3 else value[1] * value[3]
    return [(*query[:2], width)]


def _linear_attention(node: NodeProto, inputs: Sequence[Tensor | None]) -> Shapes:
    """query [B, N, H D], value [B, N, Hv Dv] -> [B, N, Hv Dv], and the state [B, Hv, D, Dv]."""
    query, key, value = (_shape(inputs, place) for place in range(3))
    heads = attribute(node, "kv_num_heads", attribute(node, "q_num_heads", 1))
    state = (query[0], heads, key[-1] // heads, value[-1] // heads)
    return [(*query[:2], value[-1]), state]


def _matmul_nbits(node: NodeProto, inputs: Sequence[Tensor | None]) -> Shapes:
    """A [..., K], weights of N x K in blocks -> [..., N]."""
    return [(*_shape(inputs, 0)[:-1], attribute(node, "N", 0))]


# domain -> operator -> a rule: from the node and its inputs to the shapes of its outputs, of the first input's type
SHAPES: Mapping[str, Mapping[str, Rule]] = {
    "com.microsoft": {
        "MultiHeadAttention": _multi_head_attention,
        "LinearAttention": _linear_attention,
        "MatMulNBits": _matmul_nbits,
    }
}
