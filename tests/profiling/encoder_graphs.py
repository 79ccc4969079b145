"""A two-layer text encoder as the exporter writes one: nodes have names, and notes of the torch modules they are of."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeattn.runtimes.nodes import MODULES

WIDTH = 16


def encoder(*, notes: bool = True) -> onnx.ModelProto:
    """tokens [1, N] -> pooled [1, WIDTH]. notes: whether nodes say their modules."""
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {"table": rng.normal(size=(32, WIDTH)).astype(np.float32)}
    nodes = [noted(helper.make_node("Gather", ["table", "tokens"], ["x"], name="node_embedding"),
                   "bert.embeddings.word_embeddings", "embedding")]  # fmt: skip
    hidden = "x"
    for layer in range(2):
        nodes += _layer(layer, hidden, weights, rng)
        hidden = f"out{layer}"
    weights["middle"] = np.array([1], np.int64)
    nodes.append(noted(helper.make_node("ReduceMean", [hidden, "middle"], ["pooled"], name="node_pool", keepdims=0), "",
                       "mean"))  # fmt: skip
    if not notes:
        for node in nodes:
            del node.metadata_props[:]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, "n"])],
        [helper.make_tensor_value_info("pooled", TensorProto.FLOAT, [1, WIDTH])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def noted(node: onnx.NodeProto, module: str, own: str) -> onnx.NodeProto:
    """The node with torch's note: the modules around it, and its own name."""
    parts = module.split(".") if module else []
    scopes = ["", *(".".join(parts[: end + 1]) for end in range(len(parts))), own]
    node.metadata_props.add(key=MODULES, value=repr(scopes))
    return node


def _layer(layer: int, x: str, weights: dict[str, np.ndarray], rng: np.random.Generator) -> list[onnx.NodeProto]:
    """One head of attention, a residual, a norm, and a feed-forward with Gelu. The norm and a product have no note, as
    rewriting leaves them."""
    at, place = f"bert.encoder.layer.{layer}", str(layer)
    for name, shape in (("wq", (WIDTH, WIDTH)), ("wk", (WIDTH, WIDTH)), ("wf", (WIDTH, 2 * WIDTH)),
                        ("wo", (2 * WIDTH, WIDTH)), ("gain", (WIDTH,)), ("shift", (WIDTH,))):  # fmt: skip
        weights[name + place] = (rng.normal(size=shape) / 4).astype(np.float32)

    def make(op: str, inputs: list[str], out: str, module: str, **attributes: object) -> onnx.NodeProto:
        node = helper.make_node(op, inputs, [out + place], name=f"node_{out}{place}", **attributes)
        return noted(node, module, out + place)

    return [
        make("MatMul", [x, "wq" + place], "q", f"{at}.attention.self.query"),
        make("MatMul", [x, "wk" + place], "k", f"{at}.attention.self.key"),
        make("Transpose", ["k" + place], "kt", f"{at}.attention.self", perm=[0, 2, 1]),
        make("MatMul", ["q" + place, "kt" + place], "scores", f"{at}.attention.self"),
        make("Softmax", ["scores" + place], "map", f"{at}.attention.self", axis=-1),
        make("MatMul", ["map" + place, x], "mixed", f"{at}.attention.self"),
        make("Add", ["mixed" + place, x], "sum", f"{at}.attention.output"),
        helper.make_node("LayerNormalization", ["sum" + place, "gain" + place, "shift" + place], ["normed" + place],
                         name=f"node_layer_norm_{layer}"),
        helper.make_node("MatMul", ["normed" + place, "wf" + place], ["wide" + place], name=f"node_MatMul_{layer}"),
        make("Gelu", ["wide" + place], "gelu", f"{at}.intermediate.intermediate_act_fn"),
        make("MatMul", ["gelu" + place, "wo" + place], "out", f"{at}.output.dense"),
    ]  # fmt: skip
