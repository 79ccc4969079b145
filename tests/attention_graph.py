"""A small graph with one of each kind of operator that int8 meets: linear layers, norm, softmax, residual sum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

C, H, F = 64, 4, 16
OPSET, IR = 20, 10


def save(folder: Path, *, outlier: float = 1.0, linear: bool = True) -> Path:
    """x [B, N, 64] -> two linear layers with Relu between -> + x -> norm -> linear -> attention -> out [B, N, 64].

    outlier: how much larger one channel between the first two layers is than the others; the second layer's weights
    make up for it.
    """
    rng = np.random.default_rng(0)
    weights = {f"w{i}": (rng.normal(size=(C, C)) / 8).astype(np.float32) for i in (1, 2, 3)}
    weights["w1"][:, 0] *= outlier
    weights["w2"][0] /= outlier
    weights |= {
        "b1": rng.normal(size=C).astype(np.float32) / 4,
        "gain": np.ones(C, np.float32),
        "offset": np.zeros(C, np.float32),
        "split": np.array([0, 0, H, F], np.int64),
        "join": np.array([0, 0, C], np.int64),
    }

    def product(name: str, x: str, weight: str, y: str) -> onnx.NodeProto:
        return helper.make_node("MatMul", [x, weight], [y], name=name) if linear else helper.make_node("Tanh", [x], [y])

    node = helper.make_node
    nodes = [
        product("first", "x", "w1", "a"),
        node("Add", ["a", "b1"], ["biased"]),
        node("Relu", ["biased"], ["positive"]),
        product("second", "positive", "w2", "b"),
        node("Add", ["b", "x"], ["sum"]),
        node("LayerNormalization", ["sum", "gain", "offset"], ["normed"], axis=-1),
        product("third", "normed", "w3", "c"),
        node("Reshape", ["c", "split"], ["heads"]),
        node("Transpose", ["heads"], ["q"], perm=[0, 2, 1, 3]),
        node("Transpose", ["heads"], ["k"], perm=[0, 2, 3, 1]),
        node("MatMul", ["q", "k"], ["scores"], name="scores"),
        node("Softmax", ["scores"], ["map"], axis=-1),
        node("MatMul", ["map", "q"], ["mixed"], name="mix"),
        node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1, 3]),
        node("Reshape", ["back", "join"], ["out"]),
    ]
    shape = ["batch", "sequence", C]
    body = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    path = folder / "graph.onnx"
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=1024)
    return path


def samples(count: int, seed: int = 1) -> list[dict[str, np.ndarray]]:
    """Inputs of batch 1 and several lengths."""
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(size=(1, 3 + index, C)).astype(np.float32)} for index in range(count)]


def outputs(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found
