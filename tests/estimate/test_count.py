"""The work of tiny graphs, against operations and bytes counted by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from counted_graphs import counted, make, node
from onnx import TensorProto

from edgeattn.errors import ModelError
from edgeattn.estimate.graph import read, sized


def only(model, **sizes):
    (work,) = counted(model, **sizes).works
    return work


def test_a_product_is_two_operations_for_each_multiply_add():
    work = only(make([node("MatMul", ["x", "w"], ["y"])], {"x": ("batch", "n", 4)}, {"w": (4, 5)}), batch=2, n=3)
    assert (work.kind, work.precision, work.ops) == ("product", "fp32", 2 * 2 * 3 * 4 * 5)
    assert work.reads == {"x": 4 * 2 * 3 * 4, "w": 4 * 4 * 5}
    assert work.writes == {"y": 4 * 2 * 3 * 5}
    assert work.weights == {"w"}


def test_gemm_has_a_bias_and_may_transpose():
    gemm = node("Gemm", ["x", "w", "b"], ["y"], transA=1, transB=1)
    assert only(make([gemm], {"x": (4, 3)}, {"w": (5, 4), "b": (5,)})).ops == 2 * 3 * 4 * 5 + 3 * 5


@pytest.mark.parametrize(("group", "channels"), [(1, 4), (2, 2)])
def test_a_convolution_meets_the_channels_of_its_group(group, channels):
    conv = node("Conv", ["x", "w"], ["y"], group=group, pads=[1, 1, 1, 1])
    work = only(make([conv], {"x": (1, 4, 5, 5)}, {"w": (6, channels, 3, 3)}))
    assert (work.kind, work.ops) == ("product", 2 * 6 * 25 * channels * 9)


def test_a_depthwise_convolution_is_told_apart():
    conv = node("Conv", ["x", "w", "b"], ["y"], group=4)
    work = only(make([conv], {"x": (1, 4, 5, 5)}, {"w": (4, 1, 3, 3), "b": (4,)}))
    assert (work.kind, work.ops) == ("depthwise", 2 * 4 * 9 * 9 + 4 * 9)


@pytest.mark.parametrize(
    ("op_type", "kind", "ops"),
    [("Softmax", "softmax", 5 * 24), ("Gelu", "transcendental", 24), ("Relu", "elementwise", 24)],
)
def test_operators_on_elements_count_their_output(op_type, kind, ops):
    work = only(make([node(op_type, ["x"], ["y"])], {"x": (2, 3, 4)}))
    assert (work.kind, work.ops) == (kind, ops)


def test_a_norm_is_eight_operations_and_a_reduction_counts_its_input():
    norm = only(make([node("LayerNormalization", ["x", "s", "b"], ["y"])], {"x": (2, 3, 4)}, {"s": (4,), "b": (4,)}))
    assert (norm.kind, norm.ops) == ("norm", 8 * 24)
    total = only(make([node("ReduceMean", ["x"], ["y"], keepdims=0)], {"x": (2, 3, 4)}))
    assert (total.kind, total.ops) == ("reduction", 24)


def test_a_lookup_reads_its_rows_and_not_the_table():
    lookup = make(
        [node("Gather", ["table", "ids"], ["y"])], {"ids": (1, 5)}, {"table": (1000, 8)}, kind=TensorProto.INT64
    )
    work = only(lookup)
    assert (work.kind, work.reads["table"]) == ("copy", 4 * 5 * 8)


def test_views_and_what_weights_alone_decide_are_no_work():
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "first"], ["rows"]),
        node("Concat", ["rows", "rest"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["flat"]),
        node("Transpose", ["w"], ["turned"], perm=[1, 0]),
        node("MatMul", ["flat", "turned"], ["y"]),
    ]
    weights = {"w": (7, 12), "first": np.array([0]), "rest": np.array([-1])}
    found = counted(make(nodes, {"x": ("n", 3, 4)}, weights), n=6)
    (work,) = found.works
    assert (work.ops, found.sizes) == (2 * 6 * 12 * 7, 3)
    assert work.reads == {"x": 4 * 6 * 12, "w": 4 * 7 * 12}


def test_attention_in_one_operator_is_two_products_and_a_softmax():
    shapes = {"q": (1, 6, 8), "k": (1, 10, 8), "v": (1, 10, 8)}

    def fused(**attributes):
        operator = node("MultiHeadAttention", ["q", "k", "v"], ["y"], domain="com.microsoft", num_heads=2, **attributes)
        return only(make([operator], shapes))

    assert (fused().kind, fused().ops) == ("attention", 2 * (2 * 6 * 10 * 8) + 5 * 2 * 6 * 10)
    assert fused(unidirectional=1).ops == fused().ops / 2


def test_linear_attention_updates_and_reads_its_state_for_each_token():
    operator = node(
        "LinearAttention", ["q", "k", "v"], ["y", "state"],
        domain="com.microsoft", update_rule="linear", q_num_heads=2, kv_num_heads=2,
    )  # fmt: skip
    work = only(make([operator], {"q": (1, 6, 8), "k": (1, 6, 8), "v": (1, 6, 10)}))
    assert work.ops == 6 * 2 * (4 * 4 * 5)
    assert work.writes == {"y": 4 * 6 * 10, "state": 4 * 2 * 4 * 5}


def test_weights_of_four_bits_are_half_a_byte():
    sizes = {"K": 64, "N": 16, "bits": 4, "block_size": 32}
    weights = {"w": np.zeros((16, 2, 16), np.uint8), "s": (32,)}

    def product(**attributes):
        operator = node("MatMulNBits", ["x", "w", "s"], ["y"], domain="com.microsoft", **sizes, **attributes)
        return only(make([operator], {"x": (1, 3, 64)}, weights))

    assert (product().precision, product().ops, product().reads["w"]) == ("fp32", 2 * 3 * 64 * 16, 64 * 16 / 2)
    assert product(accuracy_level=4).precision == "int8"


def quantized(*, activations):
    """x times an int8 weight; activations: x goes through a pair of QuantizeLinear and DequantizeLinear."""
    weights = {"w8": np.ones((4, 5), np.int8), "s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}
    nodes = [node("DequantizeLinear", ["w8", "s", "z"], ["w"])]
    if activations:
        nodes += [node("QuantizeLinear", ["x", "s", "z"], ["x8"]), node("DequantizeLinear", ["x8", "s", "z"], ["xd"])]
    return make([*nodes, node("MatMul", ["xd" if activations else "x", "w"], ["y"])], {"x": (3, 4)}, weights)


def test_a_product_between_pairs_reads_and_computes_in_int8():
    quantize, product = counted(quantized(activations=True)).works
    assert (quantize.op_type, quantize.writes) == ("QuantizeLinear", {"x8": 12})
    assert (product.precision, product.ops) == ("int8", 2 * 3 * 4 * 5)
    assert product.reads == {"x8": 12, "w8": 20}


def test_a_product_with_weights_alone_in_int8_computes_in_float():
    product = only(quantized(activations=False))
    assert product.precision == "fp32"
    assert product.reads == {"x": 4 * 12, "w8": 20}


def test_dynamic_quantization_has_unsigned_inputs():
    weights = {"w": np.ones((4, 5), np.int8), "z": np.array(0, np.int8)}
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["x8", "scale", "zero"]),
        node("MatMulInteger", ["x8", "w", "zero", "z"], ["y"]),
    ]
    product = counted(make(nodes, {"x": (3, 4)}, weights)).works[-1]
    assert (product.precision, product.ops) == ("uint8", 2 * 3 * 4 * 5)


def test_half_precision_is_two_bytes():
    weights = {"w": np.ones((4, 5), np.float16)}
    work = only(make([node("MatMul", ["x", "w"], ["y"])], {"x": (3, 4)}, weights, kind=TensorProto.FLOAT16))
    assert (work.precision, work.reads) == ("fp16", {"x": 24, "w": 40})


def test_an_axis_without_a_size_is_named():
    model = make([node("Relu", ["x"], ["y"])], {"x": ("batch", "n")})
    with pytest.raises(ModelError, match="the axis 'n' of 'x' has no size"):
        sized(model, {"batch": 1})


def test_sizes_that_follow_from_data_are_refused():
    model = make([node("NonZero", ["x"], ["y"], name="find")], {"x": (3, 4)})
    with pytest.raises(ModelError, match="the sizes of 'y' follow from data") as raised:
        sized(model, {})
    assert raised.value.where.endswith("NonZero find")


def test_an_operator_that_nobody_knows_is_named():
    model = make([node("Mystery", ["x"], ["y"], domain="com.microsoft")], {"x": (3, 4)})
    with pytest.raises(ModelError, match=r"does not know com\.microsoft::Mystery"):
        sized(model, {})


def test_a_branch_is_refused():
    def side(name):
        return onnx.helper.make_graph(
            [node("Relu" if name == "a" else "Tanh", ["x"], [name])], name, [],
            [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, (3, 4))],
        )  # fmt: skip

    branch = node("If", ["which"], ["y"], then_branch=side("a"), else_branch=side("b"), name="choose")
    model = make([node("Cast", ["x"], ["bits"], to=TensorProto.BOOL), node("ReduceMax", ["x"], ["most"], keepdims=0),
                  node("Cast", ["most"], ["which"], to=TensorProto.BOOL), branch], {"x": (3, 4)})  # fmt: skip
    with pytest.raises(ModelError, match="does not count If"):
        counted(model)


def test_small_values_are_read_from_a_file_that_candidates_share(tmp_path):
    weights = {"w": (40, 40), "target": np.array([2, 5, 4], np.int64)}
    nodes = [node("Reshape", ["x", "target"], ["h"]), node("Relu", ["h"], ["y"])]
    model = make(nodes, {"x": ("n", 4)}, weights)
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    (tmp_path / "other.onnx.data").hardlink_to(tmp_path / "model.onnx.data")
    found = sized(read(tmp_path / "model.onnx"), {"n": 10})
    assert found.tensors["y"].shape == (2, 5, 4)
    assert found.tensors["w"].shape == (40, 40)


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match="not an ONNX graph"):
        read(tmp_path / "model.onnx")
