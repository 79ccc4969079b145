"""What is OpenVINO's own. What it shares with other runtimes is in tests/contracts/test_runtimes.py."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import tiny_bundle
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeattn.devices import CpuFacts
from edgeattn.errors import DeviceError
from edgeattn.runtimes.openvino import RUNTIME

openvino = pytest.importorskip("openvino")


@pytest.fixture
def root(tmp_path):
    """A folder with a graph and its engine."""
    onnx.save(tiny_bundle.graph(), tmp_path / "model.onnx")
    RUNTIME.build(tmp_path / "model.onnx", tmp_path / "engine", method="fp32")
    return tmp_path


@pytest.mark.parametrize(
    ("instruction_sets", "names"),
    [
        (("avx2",), ["default"]),
        (("avx512f", "avx512_vnni"), ["default"]),
        (("avx512f", "avx512_bf16"), ["default", "bf16"]),
        (("avx512f", "amx_bf16"), ["default", "bf16"]),
        (("neon", "asimdhp", "bf16"), ["default", "f16"]),
        (("neon",), ["default"]),
    ],
)
def test_shorter_precisions_are_tried_where_the_processor_computes_in_them(instruction_sets, names):
    assert [each.name for each in RUNTIME.configurations(CpuFacts(instruction_sets=instruction_sets))] == names


def test_an_engine_is_its_settings(root):
    assert [path.name for path in (root / "engine").iterdir()] == ["engine.json"]
    assert RUNTIME.load(root, root / "engine").describe()["precision"] == "f32"
    configuration = RUNTIME.configurations(CpuFacts(instruction_sets=("avx512_bf16",)))[1]
    RUNTIME.build(root / "model.onnx", root / "short", method="fp32", configuration=configuration)
    assert RUNTIME.load(root, root / "short").describe()["precision"] == "bf16"


def test_full_memory_is_not_a_fault_of_the_graph(root, monkeypatch):
    def full(*_):
        raise RuntimeError("Exception from src/inference/src/cpp/core.cpp:132:\nstd::bad_alloc\n\n")

    monkeypatch.setattr(openvino.Core, "compile_model", full)
    with pytest.raises(MemoryError, match="bad_alloc"):
        RUNTIME.load(root, root / "engine")


def test_an_openvino_without_its_cpu_plugin_says_so(root, monkeypatch):
    monkeypatch.setattr(openvino.Core, "available_devices", ["GPU"])
    with pytest.raises(DeviceError, match=r"this openvino \S+ has no plugin for CPU"):
        RUNTIME.load(root, root / "engine")


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("reduce", ["ReduceMean", "ReduceSum", "ReduceMax"])
def test_a_quantized_head_on_pooled_tokens_is_the_reference(tmp_path, reduce, keepdims):
    """Tokens are pooled, scaled per channel as by SmoothQuant, and quantized for a product."""
    rng = np.random.default_rng(0)
    weights = {
        "axis": np.array([1]),
        "scales": rng.uniform(1, 2, 32).astype(np.float32),
        "step": np.float32(0.02),
        "zero": np.int8(4),
        "w": rng.integers(-127, 128, (32, 10)).astype(np.int8),
        "w_steps": rng.uniform(0.001, 0.002, 10).astype(np.float32),
        "w_zeros": np.zeros(10, np.int8),
    }
    node = helper.make_node
    nodes = [
        node(reduce, ["x", "axis"], ["pooled"], keepdims=keepdims),
        node("Mul", ["pooled", "scales"], ["scaled"]),
        node("QuantizeLinear", ["scaled", "step", "zero"], ["q"]),
        node("DequantizeLinear", ["q", "step", "zero"], ["dq"]),
        node("DequantizeLinear", ["w", "w_steps", "w_zeros"], ["dw"], axis=1),
        node("MatMul", ["dq", "dw"], ["y"]),
    ]
    body = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    RUNTIME.build(tmp_path / "model.onnx", tmp_path / "engine", method="int8")
    session = RUNTIME.load(tmp_path, tmp_path / "engine")
    for batch, length in ((1, 7), (3, 7), (2, 40)):
        x = rng.normal(size=(batch, length, 32)).astype(np.float32) * 0.1
        expected = ReferenceEvaluator(model).run(None, {"x": x})[0]
        np.testing.assert_allclose(session.run({"x": x})["y"], expected, atol=1e-4)
