"""Graphs for runtimes that end at opset 17."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import tiny_models
import torch
from onnx import TensorProto, helper

from edgeattn.check.sound import check_graph
from edgeattn.convert import Choice, convert
from edgeattn.errors import ToolError
from edgeattn.export.onnx import export, save
from edgeattn.export.opset import lower_to_17
from edgeattn.export.rewrite import rewrite

PLAN = (Choice(0, "sliding_window", {"window": 4}), Choice(1, "hedgehog", {"feature_dim": 4}))


@pytest.mark.parametrize("opset", [17, 18])
def test_a_whole_model_at_an_old_opset(tmp_path, opset):
    task = tiny_models.text_task(tmp_path)
    model, feeds = tiny_models.make("bert", layers=2)
    convert(model, PLAN, feeds)
    whole = task.exportable(model).eval()
    graph, _ = export(whole, feeds, task.dynamic_dims(), opset=opset, limits={"sequence": (1, 32)})
    rewrite(graph)
    save(graph, tmp_path / "model.onnx")
    facts = check_graph(tmp_path / "model.onnx")
    assert facts["opset"] == opset
    assert "Gelu" not in facts["operators"]  # of opset 20
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for lengths in ((24, 9, 1), (32, 3)):
        feeds = tiny_models.feeds("bert", lengths)
        (found,) = session.run(None, {name: x.numpy() for name, x in feeds.items()})
        with torch.no_grad():
            expected = whole(**feeds)[next(iter(task.outputs))].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def one_node(node, shape, *constants):
    """A model of opset 18 of one node that reads "x"."""
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in node.output],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize(
    ("node", "constants"),
    [
        (helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0), [("axes", np.array([1, -1]))]),
        (helper.make_node("ReduceMax", ["x"], ["y"]), []),
        (helper.make_node("ReduceSum", ["x", "axes"], ["y"]), [("axes", np.array([0]))]),
        (helper.make_node("Split", ["x"], ["y", "z"], axis=2, num_outputs=2), []),
        (helper.make_node("Pad", ["x", "pads"], ["y"]), [("pads", np.array([0, 1, 0, 0, 0, 2]))]),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else "",
)
def test_an_operator_means_the_same_in_17(node, constants):
    model = one_node(node, [2, 3, 4], *constants)
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    lowered = ir.from_proto(model)
    lower_to_17(lowered)
    proto = ir.to_proto(lowered)
    assert proto.opset_import[0].version == 17
    for found, exact in zip(
        onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x}), expected, strict=True
    ):
        np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (helper.make_node("Mish", ["x"], ["y"], name="m"), "node m: opset 17 has no Mish\n  fix: use export.opset 18"),
        (helper.make_node("Pad", ["x", "pads", "", "axes"], ["y"], name="p"), "node p: opset 17 has no Pad with axes"),
        (helper.make_node("ReduceMax", ["x", "computed"], ["y"], name="r"), "opset 17 has no ReduceMax over computed"),
    ],
)
def test_what_17_does_not_have_is_refused(node, message):
    constants = [("pads", np.array([1, 1])), ("axes", np.array([0]))] if node.op_type == "Pad" else []
    model = one_node(node, [2, 3, 4], *constants)
    if "computed" in node.input:
        model.graph.input.append(helper.make_tensor_value_info("computed", TensorProto.INT64, [1]))
    with pytest.raises(ToolError, match=message):
        lower_to_17(ir.from_proto(model))
