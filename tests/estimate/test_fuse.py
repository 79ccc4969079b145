"""Nodes to kernels: what is fused is not written, and what is computed stays the same."""

from __future__ import annotations

import numpy as np
from counted_graphs import counted, dense_attention, make, node

from edgeattn.estimate.fuse import Fusing, fuse

COMPILED = Fusing(chains=True, attention=True)
INTERPRETED = Fusing(chains=False, attention=False)


def names(model, fusing):
    return [kernel.op_types for kernel in fuse(counted(model), fusing)]


def layer():
    """Gelu(x W + b) + x."""
    nodes = [
        node("MatMul", ["x", "w"], ["product"]),
        node("Add", ["product", "b"], ["sum"]),
        node("Gelu", ["sum"], ["active"]),
        node("Add", ["active", "x"], ["y"]),
    ]
    return make(nodes, {"x": (3, 4)}, {"w": (4, 4), "b": (4,)})


def test_a_chain_of_elements_joins_the_product_before_it():
    (kernel,) = fuse(counted(layer()), COMPILED)
    assert kernel.op_types == ["MatMul", "Add", "Gelu", "Add"]
    assert kernel.ops == {("product", "fp32"): 96, ("elementwise", "fp32"): 24, ("transcendental", "fp32"): 12}
    assert kernel.bytes == 4 * (12 + 16 + 4 + 12)  # x, w, b and y; nothing in between


def test_an_interpreter_fuses_a_bias_with_its_gelu_only():
    assert names(layer(), INTERPRETED) == [["MatMul"], ["Add", "Gelu"], ["Add"]]


def test_what_two_read_is_written():
    nodes = [
        node("MatMul", ["x", "w"], ["product"]),
        node("Relu", ["product"], ["left"]),
        node("Tanh", ["product"], ["right"]),
        node("Mul", ["left", "right"], ["y"]),
    ]
    assert names(make(nodes, {"x": (3, 4)}, {"w": (4, 4)}), COMPILED) == [["MatMul"], ["Relu"], ["Tanh", "Mul"]]


def test_query_key_and_value_are_one_product():
    nodes = [node("MatMul", ["x", f"w{place}"], [f"y{place}"]) for place in range(3)]
    both = [node("Add", ["y0", "y1"], ["sum"]), node("Add", ["sum", "y2"], ["out"])]
    model = make([*nodes, *both], {"x": (3, 4)}, {f"w{place}": (4, 4) for place in range(3)})
    kernels = fuse(counted(model), COMPILED)
    assert sum(kernel.ops.get(("product", "fp32"), 0) for kernel in kernels) == 3 * 96
    assert [kernel.op_types.count("MatMul") for kernel in kernels] == [3]


def test_a_conversion_joins_though_another_reads_its_input_too():
    weights = {"w": (4, 4), "s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    nodes = [
        node("Relu", ["x"], ["h"]),
        node("QuantizeLinear", ["h", "s", "z"], ["h8"]),
        node("DequantizeLinear", ["h8", "s", "z"], ["rough"]),
        node("Sub", ["h", "rough"], ["y"]),
    ]
    first = fuse(counted(make(nodes, {"x": (3, 4)}, weights)), COMPILED)[0]
    assert first.op_types[:2] == ["Relu", "QuantizeLinear"]
    assert first.reads == {"x": 48, "s": 4, "z": 1}


def test_compiled_attention_keeps_its_scores():
    query, attention, out = fuse(counted(dense_attention()), COMPILED)
    assert (query.op_types, out.op_types) == (["MatMul"], ["MatMul"])
    assert set(attention.reads) == {"projected", "k", "v", "two", "bias"}
    assert set(attention.writes) == {"mixed"}
    products, softmax, scale_and_mask, turn = 2 * 2 * (2 * 8 * 8 * 4), 5 * 2 * 8 * 8, 2 * 2 * 8 * 8, 2 * 8 * 4
    assert attention.ops == {("attention", "fp32"): products + softmax + scale_and_mask + turn}


def test_an_interpreter_writes_the_scores():
    assert names(dense_attention(), INTERPRETED) == [
        ["MatMul"], ["Transpose"], ["MatMul", "Div"], ["Add"], ["Softmax"], ["MatMul"], ["MatMul"],
    ]  # fmt: skip


def test_a_softmax_after_a_linear_layer_is_no_attention():
    """As in linear attention, whose features are a softmax."""
    nodes = [
        node("MatMul", ["x", "w"], ["features"]),
        node("Softmax", ["features"], ["map"]),
        node("MatMul", ["map", "v"], ["y"]),
    ]
    model = make(nodes, {"x": (8, 4), "v": (4, 4)}, {"w": (4, 4)})
    assert names(model, COMPILED) == [["MatMul"], ["Softmax"], ["MatMul"]]


def test_an_integer_product_becomes_numbers_again_in_one_kernel():
    weights = {"w": np.ones((4, 5), np.int8), "z": np.array(0, np.int8), "s": (5,)}
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["x8", "scale", "zero"]),
        node("MatMulInteger", ["x8", "w", "zero", "z"], ["sums"]),
        node("Cast", ["sums"], ["floats"], to=1),
        node("Mul", ["floats", "s"], ["y"]),
    ]
    model = make(nodes, {"x": (3, 4)}, weights)
    assert names(model, INTERPRETED) == [["DynamicQuantizeLinear"], ["MatMulInteger", "Cast", "Mul"]]
