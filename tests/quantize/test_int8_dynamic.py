"""int8 graphs: smaller, with only the linear layers in int8."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeattn.devices.probe import probe_cpu
from edgeattn.devices.profile import CpuFacts
from edgeattn.errors import ToolError
from edgeattn.quantize import METHODS

C, H, F = 64, 4, 16


def graph(folder, *, linear=True):
    """x [B, N, 64] -> linear -> per-head map [4, 16, 16] -> a product of two activations -> out, weights outside."""
    rng = np.random.default_rng(0)
    node = helper.make_node
    weights = {
        "w": rng.normal(size=(C, C)).astype(np.float32) / 8,
        "heads": rng.normal(size=(H, F, F)).astype(np.float32) / 4,
        "split": np.array([0, 0, H, F], np.int64),
    }
    nodes = [
        node("MatMul", ["x", "w"], ["y"], name="linear") if linear else node("Tanh", ["x"], ["y"]),
        node("Reshape", ["y", "split"], ["z"]),
        node("Transpose", ["z"], ["t"], perm=[0, 2, 1, 3]),
        node("MatMul", ["t", "heads"], ["features"], name="per head"),
        node("Transpose", ["features"], ["turned"], perm=[0, 1, 3, 2]),
        node("MatMul", ["turned", "t"], ["out"], name="two activations"),
    ]
    body = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", C])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", H, F, F])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    path = folder / "graph.onnx"
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        location="graph.onnx.data",
        size_threshold=1024,
        convert_attribute=False,
    )
    return path


def quantize(method, source, target, cpu=None):
    return METHODS[method].quantize(source, target, cpu=cpu, calibration=(), options=METHODS[method].Options())


def samples():
    return np.random.default_rng(1).normal(size=(2, 9, C)).astype(np.float32)


def out(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": samples()})[0]


def size(path):
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def target(tmp_path):
    (tmp_path / "target").mkdir()
    return tmp_path / "target" / "model.onnx"


def test_fp32_is_a_copy_that_finds_its_weights(tmp_path):
    source, copy = graph(tmp_path), target(tmp_path)
    quantize("fp32", source, copy, None)
    assert sorted(path.name for path in copy.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    np.testing.assert_array_equal(out(copy), out(source))


@pytest.mark.parametrize("sets", [(), ("avx2",), ("avx2", "avx512_vnni")])
def test_int8_is_smaller_and_nearly_the_same(tmp_path, sets):
    source, small = graph(tmp_path), target(tmp_path)
    quantize("int8-dynamic", source, small, CpuFacts(instruction_sets=sets))
    assert size(small) < size(source)
    # By ONNX's reference evaluator: a graph for a processor that adds bytes exactly saturates on one that does not.
    expected, found = out(source), ReferenceEvaluator(str(small)).run(None, {"x": samples()})[0]
    assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)
    assert not np.array_equal(found, expected)
    assert {path.suffix for path in small.parent.iterdir()} <= {".onnx", ".data"}


def test_int8_for_this_processor_runs_on_it_nearly_the_same(tmp_path):
    source, small = graph(tmp_path), target(tmp_path)
    quantize("int8-dynamic", source, small, CpuFacts(instruction_sets=tuple(probe_cpu().instruction_sets)))
    expected, found = out(source), out(small)
    assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)


def test_int8_is_for_linear_layers_alone(tmp_path):
    source, small = graph(tmp_path), target(tmp_path)
    quantize("int8-dynamic", source, small, None)
    model = onnx.load(small)
    names = {node.name for node in model.graph.node if node.op_type == "MatMul"}
    assert names == {"per head", "two activations"}
    assert sum(node.op_type == "MatMulInteger" for node in model.graph.node) == 1
    kinds = {weight.name: weight.data_type for weight in model.graph.initializer}
    assert kinds["heads"] == TensorProto.FLOAT
    assert kinds["w_quantized"] == TensorProto.INT8
    scale = next(weight for weight in model.graph.initializer if weight.name == "w_scale")
    assert list(scale.dims) == [C]  # per channel


def test_without_vnni_weights_keep_to_seven_bits(tmp_path):
    """Sums of two products of an unsigned and a signed byte must fit 16 bits."""

    def widest(name, sets):
        (tmp_path / name).mkdir()
        quantize("int8-dynamic", graph(tmp_path), tmp_path / name / "a.onnx", CpuFacts(instruction_sets=sets))
        weights = onnx.load(tmp_path / name / "a.onnx").graph.initializer
        return np.abs(numpy_helper.to_array(next(w for w in weights if w.name == "w_quantized")).astype(np.int32)).max()

    assert widest("plain", ("avx2",)) <= 64
    assert widest("vnni", ("avx2", "avx512_vnni")) > 120


def test_a_graph_without_a_linear_layer_is_refused(tmp_path):
    source, small = graph(tmp_path, linear=False), target(tmp_path)
    with pytest.raises(ToolError, match=r"graph\.onnx: no linear layer to quantize\n  fix: use methods: \[fp32\]"):
        quantize("int8-dynamic", source, small, None)
    assert list(small.parent.iterdir()) == []
