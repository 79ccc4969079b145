"""Names of TensorRT's layers, as NVIDIA's documents and its inspector's JSON have them, traced to the graph's nodes."""

from __future__ import annotations

import pytest

from edgeattn.runtimes.nodes import Node, Nodes
from edgeattn.runtimes.tensorrt_family.operators import operators_of

NAMES = ("node_MatMul_1", "node_linear", "node_MatMul_2", "node_gelu", "node_softmax", "node_softmax_1", "node_conv2d")
NODES = Nodes(
    tuple(Node(name, "Add", (f"t{place}",), (f"t{place + 1}",)) for place, name in enumerate(NAMES)), frozenset()
)


def traced(name, **facts):
    (operator,) = operators_of({name: 0.5}, [{"Name": name, **facts}] if facts else [name], NODES)
    assert operator.ms == 0.5
    return operator


@pytest.mark.parametrize(
    ("layer", "nodes"),
    [
        ("node_MatMul_1 + node_linear", ("node_MatMul_1", "node_linear")),
        ("node_MatMul_1 || node_MatMul_2", ("node_MatMul_1", "node_MatMul_2")),
        ("PWN(PWN(node_linear), node_gelu)", ("node_linear", "node_gelu")),
        ("{ForeignNode[node_linear...node_softmax]}",
         ("node_linear", "node_MatMul_2", "node_gelu", "node_softmax")),
        ("{ForeignNode[t5.1...node_conv2d]}", ("node_softmax", "node_softmax_1", "node_conv2d")),
        ("node_softmax_1_myl0_7", ("node_softmax_1",)),
        ("(Unnamed Layer* 12) [Shuffle] + node_conv2d", ("node_conv2d",)),
        ("__myl_MulSum_myl0_3", ()),
        ("Reformatting CopyNode for Input Tensor 0 to node_conv2d", ("node_conv2d",)),
    ],
)  # fmt: skip
def test_a_layers_name_lists_its_nodes(layer, nodes):
    assert traced(layer).nodes == nodes


def test_detailed_information_is_taken_before_the_name():
    metadata = "[ONNX Layer: node_MatMul_2]\x1f[ONNX Layer: node_gelu]\x1e[ONNX Layer: gone]"
    found = traced("__myl_Fc_myl0_3", LayerType="kgen", Metadata=metadata)
    assert (found.kind, found.nodes) == ("kgen", ("node_MatMul_2", "node_gelu"))


def test_what_only_copies_is_told_apart():
    assert traced("Reformatting CopyNode for Input Tensor 0 to node_conv2d").kind == "Reformat"
    assert traced("node_conv2d", LayerType="CaskConvolution").kind == "CaskConvolution"
    assert traced("{ForeignNode[node_linear...node_gelu]}").kind == "Myelin"
