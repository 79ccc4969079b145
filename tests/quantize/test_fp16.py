"""fp16 by casts: what stays in fp32, what overflow does, and that a graph keeps its inputs and outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attention_graph as case
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from edgeattn.errors import DataError, ToolError
from edgeattn.metrics import row_cosines
from edgeattn.quantize.fp16 import Fp16, Fp16Options
from edgeattn.quantize.int8 import Int8, Int8Options
from edgeattn.quantize.int8_fp16 import Int8Fp16

BATCH = np.random.default_rng(7).normal(size=(3, 11, case.C)).astype(np.float32)
FLOATS = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16"}


def written(folder: Path, text: str, **weights: np.ndarray) -> Path:
    """A graph of ONNX's text form, opset 17, with its weights beside it."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]>\nagraph {text}')
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    path = folder / "graph.onnx"
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    return path


def halved(folder: Path, source: Path, samples: list[dict[str, Any]], **options: Any) -> tuple[Path, dict[str, Any]]:
    (folder / "out").mkdir()
    out = folder / "out" / "model.onnx"
    return out, Fp16.quantize(source, out, cpu=None, calibration=samples, options=Fp16Options(**options))


def precisions(path: Path) -> dict[str, str]:
    """node -> the float type that it computes in. Casts are left out."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
    values = (*model.graph.value_info, *model.graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return {
        node.name: FLOATS[types[node.output[0]]]
        for node in model.graph.node
        if node.op_type != "Cast" and types.get(node.output[0]) in FLOATS
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("plain")
    source = case.save(folder)
    return source, *halved(folder, source, case.samples(6))


def test_products_are_in_fp16_and_norms_and_softmax_are_not(plain):
    _, out, facts = plain
    found = precisions(out)
    assert {name for name, kind in found.items() if kind == "fp16"} >= {"first", "second", "third", "scores", "mix"}
    assert [name.partition("_")[0] for name, kind in found.items() if kind == "fp32"] == [
        "LayerNormalization",
        "Softmax",
    ]
    assert facts["in_fp32"] == {"norm": 1, "softmax": 1}
    assert facts["overflow"] == []
    assert facts["fp16_cosine"] > 0.9999


def test_weights_take_half_the_space_and_the_rest_of_the_file_is_as_it_was(plain):
    source, out, _ = plain
    model = onnx.load(out)
    assert (model.opset_import[0].version, model.ir_version) == (case.OPSET, case.IR)
    assert (out.parent / "model.onnx.data").stat().st_size < 0.52 * source.with_name("graph.onnx.data").stat().st_size
    assert [value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)] == [1, 1]
    kinds = {weight.name: weight.data_type for weight in model.graph.initializer}
    assert (kinds["w1"], kinds["split"], kinds["gain"]) == (TensorProto.FLOAT16, TensorProto.INT64, TensorProto.FLOAT)
    onnx.checker.check_model(str(out), full_check=True)


def test_it_computes_nearly_the_same(plain):
    source, out, _ = plain
    assert row_cosines(case.outputs(out, BATCH), case.outputs(source, BATCH)).min() > 0.9999


LINEAR_ATTENTION = """
(float[b,h,n,4] q, float[b,h,n,4] k, float[b,h,n,8] v, float[b,1,n,1] share) => (float[b,h,n,8] out) {
  [n1] qf = Softmax<axis = -1>(q)
  [n2] kf = Softmax<axis = -1>(k)
  [n3] kt = Transpose<perm = [0, 1, 3, 2]>(kf)
  [n4] small = Mul(v, share)
  [state] s = MatMul(kt, small)
  [normaliser] z = MatMul(kt, share)
  [read] numerator = MatMul(qf, s)
  [sum] total = MatMul(qf, z)
  [safe] least = Clip(total, eps)
  [division] out = Div(numerator, least)
}"""


def test_sums_over_tokens_the_normaliser_and_the_division_stay_in_fp32(tmp_path):
    source = written(tmp_path, LINEAR_ATTENTION, eps=np.float32(1e-20))
    rng = np.random.default_rng(0)
    shapes = {"q": (1, 2, 9, 4), "k": (1, 2, 9, 4), "v": (1, 2, 9, 8)}
    feeds = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    feeds["share"] = np.full((1, 1, 9, 1), 1 / 9, np.float32)
    out, facts = halved(tmp_path, source, [feeds])
    found = precisions(out)
    assert found["read"] == "fp16"
    assert {name for name, kind in found.items() if kind == "fp32"} >= {
        "state", "normaliser", "sum", "safe", "division", "n1", "n2", "n3",
    }  # fmt: skip
    constants = {weight.name: numpy_helper.to_array(weight) for weight in onnx.load(out).graph.initializer}
    assert constants["eps"] == np.float32(1e-20), "which fp16 does not have"
    assert facts["fp16_cosine"] > 0.9999


def test_weights_of_a_softmax_may_be_fp16(tmp_path):
    """They add up to 1, whatever the number of tokens."""
    text = """(float[b,n,4] q, float[b,n,4] v) => (float[b,n,4] out) {
      [turn] t = Transpose<perm = [0, 2, 1]>(q) [scores] s = MatMul(q, t)
      [map] m = Softmax<axis = -1>(s) [mix] out = MatMul(m, v) }"""
    feeds = {name: np.random.default_rng(0).normal(size=(1, 5, 4)).astype(np.float32) for name in "qv"}
    found = precisions(halved(tmp_path, written(tmp_path, text), [feeds])[0])
    assert (found["scores"], found["map"], found["mix"]) == ("fp16", "fp32", "fp16")


@pytest.mark.parametrize("filler", [-3.4e38, -np.inf])
def test_a_mask_survives_rows_that_see_nothing(tmp_path, filler):
    """Rounded to fp16's lowest number, it and a negative score would be -inf, and a row of these NaN."""
    text = """(float[b,n,4] x, bool[b,1,n] seen) => (float[b,n,4] out) {
      [first] q = MatMul(x, w) [turn] t = Transpose<perm = [0, 2, 1]>(q) [scores] s = MatMul(q, t)
      [fill] m = Where(seen, zero, lowest) [add] a = Add(s, m)
      [map] p = Softmax<axis = -1>(a) [mix] out = MatMul(p, q) }"""
    weights = {"w": 3 * np.eye(4, dtype=np.float32), "zero": np.float32(0), "lowest": np.float32(filler)}
    source = written(tmp_path, text, **weights)
    x = np.random.default_rng(0).normal(size=(1, 5, 4)).astype(np.float32)
    out, facts = halved(tmp_path, source, [{"x": x, "seen": np.ones((1, 1, 5), bool)}])
    assert facts["in_fp32"]["mask"] == 2
    assert facts["overflow"] == []
    half = np.zeros((1, 1, 5), bool)
    half[..., :2] = True
    for seen in (half, *([np.zeros((1, 1, 5), bool)] if np.isfinite(filler) else [])):
        before, after = (
            onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x, "seen": seen})[0]
            for path in (source, out)
        )
        assert np.isfinite(after).all()
        np.testing.assert_allclose(after, before, rtol=2e-2, atol=2e-2)


TWO_LAYERS = """(float[b,n,8] x) => (float[b,n,8] out) {
  [first] a = MatMul(x, w1) [second] b = MatMul(a, w2) [third] out = MatMul(b, w3) }"""


def scaled(large: float) -> dict[str, np.ndarray]:
    eye = np.eye(8, dtype=np.float32)
    return {"w1": eye * np.float32(large), "w2": eye / np.float32(large), "w3": eye}


def test_values_near_the_end_of_the_range_stay_in_fp32_and_are_named(tmp_path):
    sample = {"x": np.random.default_rng(0).normal(size=(1, 6, 8)).astype(np.float32)}
    out, facts = halved(tmp_path, written(tmp_path, TWO_LAYERS, **scaled(30_000.0)), [sample])
    assert facts["overflow"] == ["first", "second"]
    assert precisions(out) == {"first": "fp32", "second": "fp32", "third": "fp16"}
    assert facts["fp16_cosine"] > 0.9999


def test_headroom_says_how_near(tmp_path):
    sample = {"x": np.full((1, 1, 8), 2.0, np.float32)}
    source = written(tmp_path, TWO_LAYERS, **scaled(10_000.0))  # values of 20 000
    assert halved(tmp_path, source, [sample], headroom=3.0)[1]["overflow"] == []
    (tmp_path / "again").mkdir()
    assert halved(tmp_path / "again", source, [sample], headroom=4.0)[1]["overflow"] == ["first", "second"]


def test_a_graph_that_would_stay_in_fp32_is_refused(tmp_path):
    text = "(float[b,8] x) => (float[b,8] out) { [first] a = MatMul(x, w) [square] out = Mul(a, a) }"
    source = written(tmp_path, text, w=np.eye(8, dtype=np.float32) * np.float32(1e6))
    with pytest.raises(ToolError, match=r"every product would stay in fp32: 2 nodes come near the end of fp16's range"):
        halved(tmp_path, source, [{"x": np.ones((1, 8), np.float32)}])


def test_overflow_that_headroom_did_not_avoid_is_said_with_its_place(tmp_path):
    """fp16 rounds the weights up, so that what was just inside of its range no longer is."""
    text = "(float[b,8] x) => (float[b,8] out) { [first] a = MatMul(x, w) [second] out = MatMul(a, w) }"
    source = written(tmp_path, text, w=np.eye(8, dtype=np.float32) * np.float32(1.0006))
    with pytest.raises(ToolError, match=r"fp16 overflows on 1 calibration samples, first in second\n.*more headroom"):
        halved(tmp_path, source, [{"x": np.full((1, 8), 65_400.0, np.float32)}], headroom=1.0)


def test_without_samples_it_is_refused(tmp_path):
    with pytest.raises(DataError, match="fp16 needs calibration samples, and there are none\n  fix: give"):
        halved(tmp_path, case.save(tmp_path), [])


# --- int8-fp16 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", [17, 20])
def test_int8_and_fp16_in_one_graph(tmp_path, opset, monkeypatch):
    """Before opset 19 a pair is fp32, so the cast comes after the layer that reads it and its bias."""
    monkeypatch.setattr(case, "OPSET", opset)
    source, pairs, out = case.save(tmp_path), tmp_path / "int8.onnx", tmp_path / "model.onnx"
    Int8.quantize(source, pairs, cpu=None, calibration=case.samples(10), options=Int8Options())
    facts = Int8Fp16.quantize(pairs, out, cpu=None, calibration=case.samples(6), options=Fp16Options())
    assert row_cosines(case.outputs(out, BATCH), case.outputs(source, BATCH)).min() > 0.99
    found = precisions(out)
    assert (found["scores"], found["mix"]) == ("fp16", "fp16")
    assert {found[name] for name in ("first", "second", "third")} == {"fp32" if opset < 19 else "fp16"}
    graph = onnx.load(out).graph
    made = {output: node for node in graph.node for output in node.output}
    layers = {node.name: node for node in graph.node if node.name in ("first", "second", "third")}
    for node in layers.values():
        assert {made[value].op_type for value in node.input} == {"DequantizeLinear"}, "nothing between pair and layer"
    scales = {node.input[1] for node in graph.node if node.op_type == "DequantizeLinear"}
    kinds = {weight.data_type for weight in graph.initializer if weight.name in scales}
    assert kinds == {TensorProto.FLOAT if opset < 19 else TensorProto.FLOAT16}
    assert ("quantized" in facts["in_fp32"]) == (opset < 19)
    assert helper.np_dtype_to_tensor_dtype(case.outputs(out, BATCH).dtype) == TensorProto.FLOAT


def test_places_of_tokens_are_sorted_in_fp32(tmp_path):
    source = written(
        tmp_path,
        """(int64[1, n] places, float[1, n, 4] x) => (int64[1, n] order, float[1, n, 4] y) {
            [to_float] as_float = Cast<to = 1>(places)
            [count] count = Shape<start = 1>(places)
            [sort] smallest, order = TopK<largest = 0>(as_float, count)
            [product] y = MatMul(x, w)
        }""",
        w=np.eye(4, dtype=np.float32),
    )
    places = np.random.default_rng(0).permutation(5000)[None]
    feeds = {"places": places, "x": np.ones((1, 5000, 4), np.float32)}
    out, _ = halved(tmp_path, source, [feeds])
    assert precisions(out)["sort"] == "fp32"
    assert precisions(out)["product"] == "fp16"
    order, _ = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"]).run(None, feeds)
    np.testing.assert_array_equal(order, places.argsort(-1))


def test_a_graph_of_int8_layers_alone_is_not_refused(tmp_path):
    """All of its products are quantized; what lies between them is in fp16."""
    text = """(float[b,n,8] x) => (float[b,n,8] out) {
      [q] y = QuantizeLinear(x, s, z) [dq] a = DequantizeLinear(y, s, z) [dw] w = DequantizeLinear(i, s, z)
      [layer] p = MatMul(a, w) [gate] g = Sigmoid(p) [out] out = Mul(g, g) }"""
    weights = {"s": np.float32(0.1), "z": np.int8(0), "i": np.eye(8, dtype=np.int8)}
    out, facts = halved(tmp_path, written(tmp_path, text, **weights), [{"x": np.ones((1, 2, 8), np.float32)}])
    assert precisions(out)["gate"] == "fp16"
    assert facts["in_fp32"] == {"quantized": 4}
