"""Each rule of the graph check, on the smallest graph that breaks it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from check_graphs import F16, F32, I64, faults, said, save
from onnx import TensorProto, helper

node = helper.make_node
OLD, NEW = ("8.5.2", "8.6.2"), ("10.3.0", "10.16.2", "11.4.1")
ALL = (*OLD, *NEW)
X = {"x": (F32, [1, 4, 8])}


def test_a_linear_layer_passes_everywhere(tmp_path):
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Relu", ["h"], ["y"])]
    path = save(tmp_path / "a.onnx", nodes, X, {"y": (F32, [1, 4, 6])}, {"w": np.ones((8, 6), np.float32)})
    assert said(path) == {}


def test_an_opset_above_that_of_old_releases(tmp_path):
    path = save(tmp_path / "a.onnx", [node("Gelu", ["x"], ["y"])], X, {"y": (F32, [1, 4, 8])}, opset=20)
    found = said(path)
    assert found.pop(("error", "opset", "opset 20 is above 17, the highest that it takes")) == OLD
    assert found == {("error", "operator", "Gelu is not supported"): OLD}


def test_layer_normalization_before_8_6(tmp_path):
    nodes = [node("LayerNormalization", ["x", "w"], ["y"], name="norm")]
    path = save(tmp_path / "a.onnx", nodes, X, {"y": (F32, [1, 4, 8])}, {"w": np.ones(8, np.float32)})
    assert said(path) == {("error", "operator", "LayerNormalization is not supported"): ("8.5.2",)}
    (fault,) = faults(path)["8.5.2"]
    assert (fault.node, fault.operator) == ("norm", "LayerNormalization")
    assert fault.source == "https://github.com/onnx/onnx-tensorrt/blob/8.5-GA/docs/operators.md"
    assert fault.remedy == "write it out in fp32 with ReduceMean, Sub, Mul, Sqrt and Div, as edgeattn compile does"


def test_dynamic_int8_of_onnx_runtime(tmp_path):
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node("MatMulInteger", ["q", "w", "z"], ["y"]),
    ]
    path = save(tmp_path / "a.onnx", nodes, X, {"y": (TensorProto.INT32, [1, 4, 6])}, {"w": np.ones((8, 6), np.int8)})
    found = faults(path)
    assert "onnxruntime" in found
    assert found["onnxruntime"] == []
    for version in ALL:
        assert {fault.operator for fault in found[version]} == {"DynamicQuantizeLinear", "MatMulInteger"}
        assert "method int8" in found[version][0].remedy


def test_an_operator_of_another_runtime(tmp_path):
    nodes = [node("FusedMatMul", ["x", "x"], ["y"], domain="com.microsoft")]
    path = save(tmp_path / "a.onnx", nodes, X, {"y": (F32, [1, 4, 4])}, domains=["com.microsoft"])
    fact = "com.microsoft::FusedMatMul is not supported"
    assert said(path) == {("error", "operator", fact): (*ALL, "onnxruntime")}


def test_axes_of_a_reduction_that_are_computed(tmp_path):
    nodes = [node("ReduceSum", ["x", "axes"], ["y"], name="sum")]
    path = save(tmp_path / "a.onnx", nodes, {**X, "axes": (I64, [1])}, {"y": (F32, [1, 4, 1])})
    assert said(path) == {("error", "reduce-axes", "input 1 (axes) is not a constant"): ALL}


@pytest.mark.parametrize(("k", "expected"), [(3840, {}), (3841, "input 1 is 3841; 3840 is the most")])
def test_the_k_of_top_k(tmp_path, k, expected):
    nodes = [node("TopK", ["x", "k"], ["y", "i"])]
    path = save(tmp_path / "a.onnx", nodes, {"x": (F32, [1, 5000])}, {"y": (F32, None)}, {"k": np.array([k])})
    assert said(path) == ({("error", "operator-limit", expected): ALL} if expected else {})


def test_a_k_that_is_computed_is_a_matter_of_8_5(tmp_path):
    nodes = [node("TopK", ["x", "k"], ["y", "i"])]
    path = save(tmp_path / "a.onnx", nodes, {"x": (F32, [1, 50]), "k": (I64, [1])}, {"y": (F32, None)})
    fact = "input 1 (k) is not a constant: a K that follows the length, as token merging has, needs TensorRT 8.6"
    assert said(path) == {("error", "constant-input", fact): ("8.5.2",)}


@pytest.mark.parametrize(
    ("operator", "attributes", "fact"),
    [
        ("MaxPool", {"kernel_shape": [2], "dilations": [2]}, "has dilations [2]"),
        ("Mod", {}, "Mod of FP32 without fmod"),
        ("LpPool", {"kernel_shape": [2], "p": 3}, "has p 3"),
    ],
)
def test_limits_of_attributes(tmp_path, operator, attributes, fact):
    inputs = ["x", "x"] if operator == "Mod" else ["x"]
    path = save(tmp_path / "a.onnx", [node(operator, inputs, ["y"], **attributes)], X, {"y": (F32, None)})
    assert [key[2] for key in said(path)] == [fact]


def test_a_comparison_of_truths(tmp_path):
    nodes = [node("Less", ["x", "x"], ["a"]), node("Equal", ["a", "a"], ["y"])]
    path = save(tmp_path / "a.onnx", nodes, X, {"y": (TensorProto.BOOL, None)})
    assert said(path) == {("error", "operator-type", "Equal of BOOL"): ALL}


ZERO = np.int8(0)


def quantized(path, *, point=ZERO, of_weights=True, named=True, scale=0.1):
    pair = ["scale", "point"] if named else ["scale"]
    nodes = [node("QuantizeLinear", ["x", *pair], ["q"]), node("DequantizeLinear", ["q", *pair], ["d"])]
    if of_weights:
        nodes += [node("DequantizeLinear", ["w8", *pair], ["w"])]
    nodes += [node("MatMul", ["d", "w"], ["y"], name="product")]
    weights = {
        "scale": np.float32(scale),
        "w8" if of_weights else "w": np.ones((8, 6), np.int8 if of_weights else "f4"),
    }
    return save(path / "a.onnx", nodes, X, {"y": (F32, None)}, weights | ({"point": point} if named else {}))


def test_explicit_symmetric_int8_passes(tmp_path):
    assert said(quantized(tmp_path)) == {}


def test_a_zero_point_that_is_not_zero(tmp_path):
    path = quantized(tmp_path, point=np.int8(3))
    assert said(path) == {("error", "symmetric-int8", "zero point that is not 0"): ALL}


def test_unsigned_int8(tmp_path):
    path = quantized(tmp_path, point=np.uint8(0), of_weights=False)
    assert "zero point of UINT8: TensorRT refuses it, or computes with INT8" in {key[2] for key in said(path)}


def test_no_zero_point(tmp_path):
    found = said(quantized(tmp_path, named=False))
    assert found["error", "operator-limit", "input 2 is not given"] == OLD
    assert found["error", "symmetric-int8", "no zero point, which means UINT8: TensorRT computes with INT8"] == ALL


def test_a_scale_of_zero(tmp_path):
    assert said(quantized(tmp_path, scale=0.0)) == {("error", "symmetric-int8", "scale that is not positive"): ALL}


def test_one_quantized_input_of_two(tmp_path):
    path = quantized(tmp_path, of_weights=False)
    fact = "one of its two inputs is quantized: it is computed in float"
    assert said(path) == {("warning", "quantized-placement", fact): ALL}


def test_a_quantized_product_of_activations(tmp_path):
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("Transpose", ["d"], ["t"], perm=[0, 2, 1]),
        node("MatMul", ["d", "t"], ["y"]),
    ]
    path = save(tmp_path / "a.onnx", nodes, X, {"y": (F32, None)}, {"s": np.float32(1), "z": np.int8(0)})
    fact = "a quantized product of two activations: slower above 512 tokens, and less precise"
    assert said(path) == {("warning", "quantized-placement", fact): ALL}


def test_a_norm_in_half_precision(tmp_path):
    nodes = [
        node("ReduceMean", ["x"], ["m"], axes=[-1]),
        node("Sub", ["x", "m"], ["c"]),
        node("Pow", ["c", "two"], ["y"]),
    ]
    path = save(tmp_path / "a.onnx", nodes, {"x": (F16, [1, 4, 8])}, {"y": (F16, None)}, {"two": np.float16(2)})
    assert said(path) == {
        ("warning", "fp16-sum", "a sum in FP16 overflows above 65504, and rounds"): ALL,
        ("warning", "fp16-pow", "a norm written out with Pow in FP16 overflows above 255"): ALL,
    }


def test_constants_beyond_half_precision(tmp_path):
    nodes = [node("Cast", ["far"], ["h"], to=F16), node("Add", ["x", "h"], ["a"]), node("Add", ["a", "inf"], ["y"])]
    weights = {"far": np.float32(-3.4e38), "inf": np.float16(np.inf)}
    path = save(tmp_path / "a.onnx", nodes, {"x": (F16, [1])}, {"y": (F16, None)}, weights)
    assert {key[2] for key in said(path)} == {
        "the constant 'far' of up to 3.4e+38 becomes infinite",
        "initializer 'inf' has 1 values that are not finite in FP16",
    }


def test_int64_beyond_int32_is_a_matter_of_8(tmp_path):
    nodes = [node("Add", ["x", "c"], ["y"])]
    path = save(tmp_path / "a.onnx", nodes, {"x": (I64, [1])}, {"y": (I64, [1])}, {"c": np.array([2**40])})
    assert said(path) == {("warning", "narrowed-type", "constant 'c' of up to 1099511627776 is clamped to INT32"): OLD}


def test_int64_as_the_end_of_a_slice_is_none(tmp_path):
    nodes = [node("Slice", ["x", "zero", "far", "axis"], ["y"])]
    weights = {"zero": np.array([0]), "far": np.array([2**63 - 1]), "axis": np.array([1])}
    path = save(tmp_path / "a.onnx", nodes, X, {"y": (F32, None)}, weights)
    assert said(path) == {}


def test_double_is_computed_in_single(tmp_path):
    nodes = [node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE), node("Exp", ["d"], ["y"])]
    path = save(tmp_path / "a.onnx", nodes, X, {"y": (TensorProto.DOUBLE, None)})
    assert {key[:2] for key in said(path)} == {("warning", "narrowed-type")}


def test_shapes_that_depend_on_values(tmp_path):
    path = save(tmp_path / "a.onnx", [node("NonZero", ["x"], ["y"])], X, {"y": (I64, None)})
    assert {key[:2] for key in said(path)} == {("warning", "data-dependent-shape")}


def test_a_shape_from_a_float_input(tmp_path):
    nodes = [node("Resize", ["x", "", "scales"], ["y"], mode="nearest", coordinate_transformation_mode="asymmetric")]
    path = save(tmp_path / "a.onnx", nodes, {**X, "scales": (F32, [3])}, {"y": (F32, None)})
    fact = "input 2 is a shape that comes from the float input 'scales'"
    assert said(path) == {("error", "shape-from-floats", fact): ALL}


def test_branches_of_different_rank(tmp_path):
    def branch(name, shape):
        tensor = helper.make_tensor("t", F32, shape, np.zeros(shape).ravel())
        made = helper.make_tensor_value_info(name, F32, shape)
        return helper.make_graph([node("Constant", [], [name], value=tensor)], name, [], [made])

    nodes = [node("If", ["c"], ["y"], then_branch=branch("a", [2]), else_branch=branch("b", [2, 1]))]
    path = save(tmp_path / "a.onnx", nodes, {"c": (TensorProto.BOOL, [])}, {"y": (F32, ["any"])})
    assert said(path) == {("error", "control-flow", "its branches make [2] and [2, 1]"): ALL}


def test_an_unsupported_operator_in_a_branch_is_found(tmp_path):
    def branch(name, operator):
        made = helper.make_tensor_value_info(name, F32, [])
        return helper.make_graph([node(operator, ["x"], [name], name=f"in {name}")], name, [], [made])

    nodes = [node("If", ["c"], ["y"], then_branch=branch("a", "Det"), else_branch=branch("b", "Relu"))]
    inputs = {"c": (TensorProto.BOOL, []), "x": (F32, [2, 2])}
    path = save(tmp_path / "a.onnx", nodes, inputs, {"y": (F32, None)})
    assert [(fault.node, fault.fact) for fault in faults(path)["10.3.0"]] == [("in a", "Det is not supported")]


def test_types_that_no_tensor_has(tmp_path):
    nodes = [node("Identity", ["x"], ["y"])]
    path = save(tmp_path / "a.onnx", nodes, {"x": (TensorProto.STRING, [1])}, {"y": (TensorProto.STRING, [1])})
    assert {(key[1]) for key in said(path)} == {"tensor-type", "operator-type"}


def test_local_functions_before_9(tmp_path):
    function = helper.make_function("own", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])],
                                    [helper.make_opsetid("", 17)])  # fmt: skip
    path = save(tmp_path / "a.onnx", [node("Twice", ["x"], ["y"], domain="own")], X, {"y": X["x"]}, domains=["own"])
    model = onnx.load(path)
    model.functions.append(function)
    model.ir_version = 8
    onnx.save(model, path)
    found = said(path)
    assert found == {("error", "function", "the model-local function own::Twice"): OLD}


def test_every_fault_has_a_source_and_a_remedy(tmp_path):
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node("NonZero", ["x"], ["n"]),
        node("Det", ["x"], ["y"]),
    ]
    path = save(tmp_path / "a.onnx", nodes, {"x": (F32, [4, 4])}, {"y": (F32, None)})
    for each in faults(path).values():
        for fault in each:
            assert fault.source
            assert fault.remedy
