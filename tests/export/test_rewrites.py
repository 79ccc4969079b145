"""Rewrites for parsers that lack an operator, or a type of one."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeattn.export.rewrite import compare_truths, write_out_layer_norms

node, value = helper.make_node, helper.make_tensor_value_info


def outputs(path, **feeds):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize(("axis", "shape"), [(-1, [64]), (2, [64]), (-2, [5, 64]), (1, [5, 64])])
@pytest.mark.parametrize(("kind", "dtype"), [(TensorProto.FLOAT, np.float32), (TensorProto.FLOAT16, np.float16)])
def test_a_layer_norm_written_out_is_the_operator(tmp_path, opset, axis, shape, kind, dtype):
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.normal(size=shape).astype(dtype), name) for name in ("scale", "bias")]
    norm = node("LayerNormalization", ["x", "scale", "bias"], ["y"], name="norm", axis=axis, epsilon=1e-6)
    dims = ["n", 5, 64]
    graph = helper.make_graph([norm], "norm", [value("x", kind, dims)], [value("y", kind, dims)], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path = tmp_path / "a.onnx"
    onnx.save(model, path, save_as_external_data=True, location="a.onnx.data", size_threshold=0)
    # In half precision, squares of these are beyond 65504: they are taken in fp32.
    x = (rng.normal(size=(3, 5, 64)) * 500).astype(dtype)
    (expected,), data = outputs(path, x=x), (tmp_path / "a.onnx.data").read_bytes()
    assert write_out_layer_norms(path) == 1
    onnx.checker.check_model(path, full_check=True)
    assert not {"LayerNormalization", "Pow"} & {each.op_type for each in onnx.load(path).graph.node}
    assert (tmp_path / "a.onnx.data").read_bytes() == data
    (found,) = outputs(path, x=x)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert write_out_layer_norms(path) == 0


def test_truths_are_compared_without_equal():
    nodes = [node("Less", ["x", "z"], ["a"]), node("Equal", ["a", "b"], ["same"]), node("Equal", ["x", "z"], ["even"])]
    inputs = [value("x", TensorProto.INT64, ["n"]), value("z", TensorProto.INT64, ["n"])]
    truths = [value(name, TensorProto.BOOL, ["n"]) for name in ("b", "same", "even")]
    graph = helper.make_graph(nodes, "truths", [*inputs, truths[0]], truths[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    before = model.SerializeToString()
    rewritten = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(model))
    assert compare_truths(rewritten) == 1
    after = ir.serde.serialize_model(rewritten)
    onnx.checker.check_model(after, full_check=True)
    assert [each.op_type for each in after.graph.node] == ["Less", "Xor", "Not", "Equal"]
    feeds = {"x": np.array([1, 2, 3, 4]), "z": np.array([2, 2, 2, 9]), "b": np.array([True, True, False, False])}
    for old, new in zip(outputs(before, **feeds), outputs(after.SerializeToString(), **feeds), strict=True):
        np.testing.assert_array_equal(old, new)
