"""Weights of graphs: that they are finite, which layers multiply by them, and weights alone in few bits."""

from __future__ import annotations

from pathlib import Path

import attention_graph as case
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser

from edgeattn.devices import load_device
from edgeattn.errors import ModelError, ToolError
from edgeattn.metrics import row_cosines
from edgeattn.quantize import METHODS
from edgeattn.quantize.weights import layer_name, require_finite, row_layers
from edgeattn.stages.target import runtimes_for


def changed(path: Path, name: str, value: float) -> Path:
    """The graph with one other value in a weight."""
    model = onnx.load(path)
    weight = next(each for each in model.graph.initializer if each.name == name)
    array = numpy_helper.to_array(weight).copy()
    array.flat[3] = value
    weight.CopyFrom(numpy_helper.from_array(array, name))
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=1024)
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_named(tmp_path, value):
    require_finite(case.save(tmp_path))
    path = changed(case.save(tmp_path), "w2", value)
    with pytest.raises(
        ModelError, match=r"graph\.onnx: weight 'w2' has 1 values that are NaN or infinite\n  fix: "
    ) as e:
        require_finite(path)
    assert e.value.exit_code == 2


def test_a_mask_of_zeros_and_infinities_is_no_weight(tmp_path):
    model = onnx.load(case.save(tmp_path))
    model.graph.initializer.append(numpy_helper.from_array(np.triu(np.full((4, 4), -np.inf, np.float32), 1), "mask"))
    onnx.save(model, tmp_path / "masked.onnx")
    require_finite(tmp_path / "masked.onnx")


def test_a_layer_of_one_row_per_sample_is_a_product_of_a_vector():
    model = parser.parse_model("""<ir_version: 8, opset_import: ["": 17]>
        head (float[batch, n, 8] x) => (float[batch, 3] out) <int64[1] i = {0}> {
          [layer] y = MatMul(x, w) [first] z = Gather<axis = 1>(y, i)
          [flat] c = Squeeze(z, i) [head] out = MatMul(c, v)
        }""")
    for name, shape in (("w", (8, 8)), ("v", (8, 3))):
        model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    model.graph.value_info.append(helper.make_tensor_value_info("c", 1, ["batch", 8]))
    assert row_layers(model) == {"head"}


def test_a_layer_is_called_after_its_torch_module():
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="node_MatMul_3")
    assert layer_name(node) == "node_MatMul_3"
    scopes = "['', 'encoder', 'encoder.layer.0.output.dense', 'linear_4']"
    node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes)
    assert layer_name(node) == "encoder.layer.0.output.dense"


# --- weights alone ------------------------------------------------------------------------------------------


def quantized(folder: Path, name: str, source: Path, **options: object) -> Path:
    (folder / name).mkdir()
    out = folder / name / "model.onnx"
    method = METHODS[name]
    facts = method.quantize(source, out, cpu=None, calibration=(), options=method.Options.model_validate(options))
    assert facts["bits"] == (4 if name == "int4-weights" else 8)
    return out


def test_fewer_bits_are_smaller_and_less_precise(tmp_path):
    source = case.save(tmp_path)
    x = np.random.default_rng(0).normal(size=(2, 7, case.C)).astype(np.float32)
    files = {"fp32": source, **{name: quantized(tmp_path, name, source) for name in ("int8-weights", "int4-weights")}}
    sizes = [path.with_name(f"{path.name}.data").stat().st_size for path in files.values()]
    assert sizes == sorted(sizes, reverse=True)
    cosines = [float(row_cosines(case.outputs(path, x), case.outputs(source, x)).min()) for path in files.values()]
    assert cosines == sorted(cosines, reverse=True)
    assert cosines[1] > 0.999
    products = [node.name for node in onnx.load(files["int4-weights"]).graph.node if node.op_type == "MatMul"]
    assert products == ["scores", "mix"]


def test_a_gemm_is_a_linear_layer_too(tmp_path):
    """As GPT-2's Conv1D is exported."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(64, 64)), "t": rng.normal(size=(64, 64)), "b": rng.normal(size=64)}
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="biased"),
        helper.make_node("Gemm", ["y", "t"], ["out"], name="turned", transB=1),
    ]
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        nodes, "two", [value("x", 1, ["n", 64])], [value("out", 1, ["n", 64])],
        [numpy_helper.from_array(array.astype(np.float32) / 8, name) for name, array in weights.items()],
    )  # fmt: skip
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", case.OPSET)], ir_version=case.IR)
    source = tmp_path / "graph.onnx"
    onnx.save(model, source, save_as_external_data=True, location="graph.onnx.data")
    x = rng.normal(size=(5, 64)).astype(np.float32)
    out = quantized(tmp_path, "int8-weights", source)
    assert [node.op_type for node in onnx.load(out).graph.node] == ["MatMulNBits", "Add", "MatMulNBits"]
    assert row_cosines(case.outputs(out, x), case.outputs(source, x)).min() > 0.999


def test_a_graph_without_linear_layers_is_refused(tmp_path):
    with pytest.raises(ToolError, match=r"graph\.onnx: no linear layer to quantize"):
        quantized(tmp_path, "int4-weights", case.save(tmp_path, linear=False))


@pytest.mark.parametrize("name", ["int8-weights", "int4-weights"])
def test_only_onnx_runtime_runs_them(name):
    assert runtimes_for(load_device("cpu"), name, METHODS[name].operators) == ("onnxruntime",)
    assert runtimes_for(load_device("jetson"), name, METHODS[name].operators) == ()
