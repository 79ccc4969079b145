"""The layer and the kind of each node, and the operators of an engine put into them."""

from __future__ import annotations

import onnx
import pytest
from encoder_graphs import encoder, noted
from onnx import TensorProto, helper

from edgeattn.profiling.attribute import attribute, cell
from edgeattn.profiling.kinds import by_type, kind_of
from edgeattn.profiling.layers import layers_of, modules_of
from edgeattn.runtimes.base import OperatorTime
from edgeattn.runtimes.nodes import Nodes, read_nodes, traced


def nodes_of(model: onnx.ModelProto, folder) -> Nodes:
    onnx.save(model, folder / "graph.onnx")
    return read_nodes(folder / "graph.onnx")


def places(nodes: Nodes) -> dict[str, tuple[str, str]]:
    modules = modules_of(nodes)
    layers = layers_of(nodes, modules)
    return {
        node.name: (layers[node.name], kind_of(node, modules.get(node.name, ""), layers[node.name], nodes))
        for node in nodes.nodes
    }


def test_nodes_are_in_the_layers_and_kinds_that_their_modules_say(tmp_path):
    found = places(nodes_of(encoder(), tmp_path))
    assert found["node_embedding"] == ("before", "embedding")
    assert found["node_q0"] == ("0", "matmul")
    assert found["node_kt0"] == ("0", "data movement")
    assert [found[f"node_{name}1"] for name in ("scores", "map", "mixed")] == [("1", "attention")] * 3
    assert found["node_sum1"] == ("1", "elementwise")
    assert found["node_layer_norm_1"] == ("1", "norm"), "a node without a note, by what reads it"
    assert found["node_MatMul_0"] == ("0", "matmul")
    assert found["node_gelu1"] == ("1", "activation")
    assert found["node_pool"] == ("after", "reduction")


def test_without_names_of_modules_no_layer_is_made_up(tmp_path):
    found = places(nodes_of(encoder(notes=False), tmp_path))
    assert {layer for layer, _ in found.values()} == {"other"}
    assert found["node_scores0"] == ("other", "attention")
    assert found["node_q0"] == ("other", "matmul")


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        (["swin.layers.0.blocks.0.attention.self", "swin.layers.0.blocks.1.attention.self",
          "swin.layers.0.downsample.reduction", "swin.layers.1.blocks.0.attention.self",
          "swin.layers.1.blocks.0.mlp.0"],
         ["0", "1", "1", "2", "2"]),
        (["encoder.block.0.layer.0.SelfAttention.q", "encoder.block.0.layer.1.DenseReluDense.wi",
          "encoder.block.1.layer.0.SelfAttention.q", "encoder.block.1.layer.1.DenseReluDense.wi"],
         ["0", "0", "1", "1"]),
        (["transformer.h.0.attn.c_attn", "transformer.h.0.mlp.c_fc", "transformer.h.1.attn.c_attn", "lm_head"],
         ["0", "0", "1", "after"]),
        (["embed", "mixer.3.token_mixing", "mixer.3.norm", "mixer.7.token_mixing", "norm"],
         ["before", "0", "0", "1", "after"]),
        (["vit.layers.2.attention", "vit.layers.10.attention", "vit.layers.0.attention", "vit.layers.2.mlp"],
         ["1", "2", "0", "1"]),
        (["encoder.layers.1.self_attn", "encoder.layers.0.self_attn", "decoder.layers.0.self_attn"],
         ["1", "0", "2"]),
    ],
    ids=["stages", "sublayers", "gpt2", "no attention", "sizes first", "two lists"],
)  # fmt: skip
def test_layers_are_counted_as_they_run(tmp_path, modules, expected):
    nodes = [
        noted(helper.make_node("Relu", [f"t{place}"], [f"t{place + 1}"], name=f"node_{place}"), module, f"relu_{place}")
        for place, module in enumerate(modules)
    ]
    ends = [helper.make_tensor_value_info(f"t{place}", TensorProto.FLOAT, [1]) for place in (0, len(modules))]
    model = helper.make_model(helper.make_graph(nodes, "chain", ends[:1], ends[1:]))
    assert [layer for layer, _ in places(nodes_of(model, tmp_path)).values()] == expected


def test_what_rewriting_made_of_a_norm_keeps_its_place(tmp_path):
    """Written out for an old opset, only the node with the weights still names the module."""
    node = helper.make_node
    steps = [
        noted(node("Relu", ["x"], ["a"], name="node_relu"), "bert.layer.0.attention.self", "relu"),
        node("ReduceMean", ["a"], ["mean"], name="node_layer_norm_1.0.reducemean"),
        node("Sub", ["a", "mean"], ["centred"], name="node_layer_norm_1.1.sub"),
        node("Mul", ["centred", "bert.layer.0.output.LayerNorm.weight"], ["y"], name="node_layer_norm_1.2.mul"),
        noted(node("Relu", ["y"], ["z"], name="node_relu_1"), "bert.layer.1.attention.self", "relu_1"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xz"]
    gain = helper.make_tensor("bert.layer.0.output.LayerNorm.weight", TensorProto.FLOAT, [4], [1.0] * 4)
    model = helper.make_model(helper.make_graph(steps, "norm", ends[:1], ends[1:], [gain]))
    found = places(nodes_of(model, tmp_path))
    assert {found[name] for name in found if "layer_norm" in name} == {("0", "norm")}


def test_the_parts_sum_to_the_whole_and_nothing_is_dropped(tmp_path):
    nodes = nodes_of(encoder(), tmp_path)
    operators = [
        OperatorTime("gather", "Gather", 0.5, ("node_embedding",)),
        OperatorTime("fc", "FullyConnected", 2.0, ("node_q0",)),
        OperatorTime("reorder", "Reorder", 0.25),  # the runtime's own, between two operators of layer 0
        OperatorTime("both", "Subgraph", 1.0, ("node_scores0", "node_map0")),
        OperatorTime("odd", "Mystery", 0.125),  # between two layers
        OperatorTime("all", "Myelin", 4.0, ("node_q1", "node_k1", "node_scores1", "node_map1", "node_MatMul_1")),
        OperatorTime("spread", "Subgraph", 0.5, ("node_sum0", "node_sum1")),
    ]
    found = cell(attribute(operators, nodes), nodes)
    assert found["total_ms"] == 8.375
    for part in ("layers", "kinds"):
        assert sum(each["ms"] for each in found[part]) == found["total_ms"]
        assert sum(each["share"] for each in found[part]) == pytest.approx(1)
    assert {each["kind"]: each["ms"] for each in found["kinds"]} == {
        "fused": 4.0, "matmul": 2.0, "attention": 1.0, "embedding": 0.5, "elementwise": 0.5, "data movement": 0.25,
        "other": 0.125,
    }  # fmt: skip
    assert [(each["layer"], each["ms"]) for each in found["layers"]] == [
        ("before", 0.5), ("0", 3.25), ("1", 4.0), ("other", 0.625),
    ]  # fmt: skip
    assert [each["name"] for each in found["operators"]][:2] == ["all", "fc"]


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        ("FullyConnectedQuantizedLegacy", "matmul"), ("DynamicQuantizeMatMul", "matmul"), ("MatMulNBits", "matmul"),
        ("Convolution", "matmul"), ("Convert", "data movement"), ("Reorder", "data movement"), ("MVN", "norm"),
        ("SkipLayerNormalization", "norm"), ("DequantizeLinear", "quantization"), ("FakeQuantize", "quantization"),
        ("MultiHeadAttention", "attention"), ("MulAdd", "elementwise"), ("ReduceSum", "reduction"),
        ("Gelu", "activation"), ("kgen", "other"), ("", "other"),
    ],
)  # fmt: skip
def test_an_operator_of_which_only_the_type_is_known(op, kind):
    assert by_type(op) == kind


def test_a_fused_operator_stands_for_the_nodes_between_its_tensors(tmp_path):
    """As ONNX Runtime writes its optimized graph: a product with its activation, and one in a layout of its own."""
    original = nodes_of(encoder(), tmp_path)
    node = helper.make_node
    kept = {each.name: each for each in encoder().graph.node}
    fused = [
        kept["node_embedding"],
        node("Reorder", ["x"], ["x_blocked"], name="ReorderInput"),
        node("MatMul", ["x_blocked", "wq0"], ["q_blocked"], name="q0_blocked"),
        node("Reorder", ["q_blocked"], ["q0"], name="ReorderOutput"),
        node("FusedAttention", ["q0", "x", "wk0"], ["mixed0"], name="fused"),
    ]
    (tmp_path / "optimized").mkdir()
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("tokens", "mixed0")]
    model = helper.make_model(helper.make_graph(fused, "optimized", ends[:1], ends[1:]))
    assert traced(nodes_of(model, tmp_path / "optimized"), original) == {
        "node_embedding": ("node_embedding",),
        "ReorderInput": (),
        "q0_blocked": ("node_q0",),
        "ReorderOutput": (),
        "fused": ("node_k0", "node_kt0", "node_scores0", "node_map0", "node_mixed0"),
    }
