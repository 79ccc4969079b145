"""Tiny graphs whose work is counted by hand.

model = counted_graphs.make([node("MatMul", ["x", "w"], ["y"])], {"x": ("batch", 3, 4)}, {"w": (4, 5)})
counted_graphs.counted(model, batch=2).works
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeattn.estimate.count import Counted, count
from edgeattn.estimate.graph import sized

node = helper.make_node


def make(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    weights: Mapping[str, Any] | None = None,
    *,
    kind: int = TensorProto.FLOAT,
    opset: int = 20,
) -> onnx.ModelProto:
    """A graph of these nodes, whose output is the first of the last node.

    inputs: name -> dimensions. weights: name -> an array, or the shape of one in fp32.
    """
    arrays = {
        name: value if isinstance(value, np.ndarray) else np.ones(value, np.float32)
        for name, value in (weights or {}).items()
    }
    body = helper.make_graph(
        list(nodes), "counted",
        [helper.make_tensor_value_info(name, kind, dims) for name, dims in inputs.items()],
        [helper.make_tensor_value_info(nodes[-1].output[0], kind, None)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(body, opset_imports=opsets, ir_version=9)


def counted(model: onnx.ModelProto, **sizes: int) -> Counted:
    return count(sized(model, sizes))


def dense_attention(tokens: int = 8, heads: int = 2, width: int = 4) -> onnx.ModelProto:
    """q, k, v [1, H, N, D] -> softmax(q W k^T / 2 + bias) v W'."""
    shape = (1, heads, tokens, width)
    nodes = [
        node("MatMul", ["q", "wq"], ["projected"]),
        node("Transpose", ["k"], ["turned"], perm=[0, 1, 3, 2]),
        node("MatMul", ["projected", "turned"], ["scores"]),
        node("Div", ["scores", "two"], ["scaled"]),
        node("Add", ["scaled", "bias"], ["masked"]),
        node("Softmax", ["masked"], ["map"], axis=-1),
        node("MatMul", ["map", "v"], ["mixed"]),
        node("MatMul", ["mixed", "wo"], ["out"]),
    ]
    weights = {"wq": (width, width), "wo": (width, width), "two": np.array(2, np.float32), "bias": (1, 1, 1, tokens)}
    return make(nodes, {"q": shape, "k": shape, "v": shape}, weights)
