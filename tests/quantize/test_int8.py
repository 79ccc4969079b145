"""Static int8: QDQ graphs of linear layers that three runtimes load, and layers left in float where they cost most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attention_graph as case
import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from edgeattn.devices.profile import CpuFacts
from edgeattn.errors import DataError, ToolError
from edgeattn.metrics import row_cosines
from edgeattn.quantize.int8 import Int8, Int8Options

BATCH = np.random.default_rng(7).normal(size=(3, 11, case.C)).astype(np.float32)


def quantized(
    folder: Path, *, outlier: float = 1.0, cpu: CpuFacts | None = None, **options: Any
) -> tuple[Path, Path, dict[str, Any]]:
    """The fp32 graph, its int8 form and the facts."""
    source = case.save(folder, outlier=outlier)
    (folder / "out").mkdir()
    out = folder / "out" / "model.onnx"
    facts = Int8.quantize(source, out, cpu=cpu, calibration=case.samples(10), options=Int8Options(**options))
    return source, out, facts


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    return quantized(tmp_path_factory.mktemp("plain"))


def cosine(source: Path, out: Path) -> float:
    return float(row_cosines(case.outputs(out, BATCH), case.outputs(source, BATCH)).min())


def pairs(path: Path) -> dict[str, list[str | None]]:
    """node -> for each input, what is behind its QDQ pair; None for an input without one. QDQ nodes are left out."""
    graph = onnx.load(path, load_external_data=False).graph
    made = {output: node for node in graph.node for output in node.output}

    def behind(value: str) -> str | None:
        node = made.get(value)
        if node is not None and node.op_type == "Transpose":
            return behind(node.input[0])
        if node is None or node.op_type != "DequantizeLinear":
            return None
        quantize = made.get(node.input[0])
        return quantize.input[0] if quantize is not None else node.input[0]

    return {
        node.name or node.op_type: [behind(value) for value in node.input]
        for node in graph.node
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear")
    }


def test_it_is_nearly_the_same_at_another_batch_and_length(plain):
    source, out, facts = plain
    assert cosine(source, out) > 0.99
    assert not np.array_equal(case.outputs(source, BATCH), case.outputs(out, BATCH))
    assert facts["cosine"] > 0.99
    assert {key: facts[key] for key in ("quantized", "left_in_float", "samples", "held_back")} == {
        "quantized": 3, "left_in_float": [], "samples": 8, "held_back": 2,
    }  # fmt: skip


def test_its_weights_are_int8_in_one_file_beside_it(plain):
    source, out, _ = plain
    assert sorted(file.name for file in out.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert (out.parent / "model.onnx.data").stat().st_size < 0.35 * source.with_name("graph.onnx.data").stat().st_size
    model = onnx.load(out)
    assert (model.opset_import[0].version, model.ir_version) == (case.OPSET, case.IR)
    onnx.checker.check_model(str(out), full_check=True)


def test_only_linear_layers_read_quantized_values(plain):
    found = {name: values for name, values in pairs(plain[1]).items() if any(values)}
    assert sorted(found) == ["first", "second", "third"]
    assert all(all(values) for values in found.values()), "both inputs of each"


def test_every_pair_is_signed_and_symmetric_and_weights_are_per_channel(plain):
    """As TensorRT wants it, the positive activations after Relu too."""
    graph = onnx.load(plain[1]).graph
    constants = {weight.name: weight for weight in graph.initializer}
    nodes = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(nodes) == 3 + 6
    for node in nodes:
        zero, scale = (constants[name] for name in (node.input[2], node.input[1]))
        assert zero.data_type == TensorProto.INT8
        assert not numpy_helper.to_array(zero).any()
        weight = node.input[0] in constants
        assert list(scale.dims) == ([case.C] if weight else [])
        assert not weight or constants[node.input[0]].data_type == TensorProto.INT8


def test_nothing_is_printed_or_left_in_the_home(tmp_path, monkeypatch, capfd):
    """NNCF prints its progress and sends telemetry unless it is told not to."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    quantized(tmp_path)
    assert capfd.readouterr() == ("", "")
    assert list(home.rglob("*")) == []


def test_products_of_two_activations_on_request(tmp_path):
    _, out, facts = quantized(tmp_path, activation_products=True, least_cosine=0.5)
    assert facts["quantized"] == 4
    assert all(pairs(out)["scores"])


def test_smoothing_can_be_turned_off(tmp_path, plain):
    _, out, _ = quantized(tmp_path, smooth=0.0)
    assert "Mul" not in {node.op_type for node in onnx.load(out).graph.node}
    assert "Mul" in {node.op_type for node in onnx.load(plain[1]).graph.node}


@pytest.mark.parametrize(("sets", "bits"), [(("avx2",), 7), (("avx2", "avx_vnni"), 8)])
def test_without_vnni_the_weights_keep_to_seven_bits(tmp_path, sets, bits):
    _, out, facts = quantized(tmp_path, cpu=CpuFacts(instruction_sets=sets))
    weights = [numpy_helper.to_array(w) for w in onnx.load(out).graph.initializer if w.name.endswith(".int8")]
    widest = max(np.abs(weight.astype(int)).max() for weight in weights)
    assert len(weights) == 3
    assert 2 ** (bits - 2) < widest <= 2 ** (bits - 1)
    assert facts["seven_bits"] is (bits == 7)


def test_a_layer_that_alone_costs_the_cosine_is_left_in_float(tmp_path):
    """The large channel before the second layer takes the whole range of its input."""
    (tmp_path / "all").mkdir()
    source, out, facts = quantized(tmp_path / "all", outlier=3000.0, smooth=0.0, least_cosine=0.1)
    assert facts["left_in_float"] == []
    assert cosine(source, out) < 0.98
    source, out, facts = quantized(tmp_path, outlier=3000.0, smooth=0.0, least_cosine=0.99)
    assert facts["left_in_float"] == ["second"]
    assert facts["quantized"] == 2
    assert facts["cosine"] > 0.99
    assert cosine(source, out) > 0.99
    assert {name for name, values in pairs(out).items() if any(values)} == {"first", "third"}
    names = {weight.name for weight in onnx.load(out).graph.initializer}
    assert ("w2" in names, "w1" in names) == (True, False), "one form of each weight"


def test_one_sample_is_enough(tmp_path):
    source = case.save(tmp_path)
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "model.onnx"
    facts = Int8.quantize(source, out, cpu=None, calibration=case.samples(1), options=Int8Options())
    assert (facts["samples"], facts["held_back"]) == (1, 1)
    assert cosine(source, out) > 0.9


def test_without_calibration_samples_it_is_refused(tmp_path):
    with pytest.raises(DataError, match="int8 needs calibration samples, and there are none\n  fix: give") as caught:
        Int8.quantize(case.save(tmp_path), tmp_path / "out.onnx", cpu=None, calibration=(), options=Int8Options())
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out.onnx").exists()


def test_a_graph_without_linear_layers_is_refused(tmp_path):
    source = case.save(tmp_path, linear=False)
    (tmp_path / "out").mkdir()
    with pytest.raises(ToolError, match=r"graph\.onnx: no linear layer to quantize\n  fix: use methods: \[fp32\]"):
        Int8.quantize(
            source, tmp_path / "out" / "model.onnx", cpu=None, calibration=case.samples(5), options=Int8Options()
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_samples_that_are_not_the_graphs_inputs_end_in_one_sentence(tmp_path):
    feeds = [{"y": feeds["x"]} for feeds in case.samples(5)]
    with pytest.raises(ToolError, match="stage quantize"):
        Int8.quantize(case.save(tmp_path), tmp_path / "o.onnx", cpu=None, calibration=feeds, options=Int8Options())


# --- the runtimes that load it ------------------------------------------------------------------------------


def test_openvino_loads_it(plain):
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    source, out, _ = plain
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    found = openvino.Core().compile_model(str(out), "CPU", settings)({"x": BATCH})[0]
    assert row_cosines(found, case.outputs(source, BATCH)).min() > 0.99


def test_tensorrt_for_rtx_builds_it(plain):
    """Without a GPU: that it parses and builds under strong typing says the same of TensorRT on a Jetson."""
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed")
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse_from_file(str(plain[1])), [str(parser.get_error(i)) for i in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("x", (1, 1, case.C), (1, 16, case.C), (4, 64, case.C))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None
