"""What every quantization method keeps: its contract in edgeattn/quantize/method.py."""

from __future__ import annotations

import json
import subprocess
import sys

import attention_graph as case
import check_graphs
import numpy as np
import onnx
import pytest
import variant_graphs
from onnxruntime import InferenceSession

from edgeattn.bench.inputs import save_feeds
from edgeattn.metrics import row_cosines
from edgeattn.quantize import METHODS
from edgeattn.quantize.fp16 import Fp16, Fp16Options
from edgeattn.quantize.int8 import Int8Options
from edgeattn.quantize.int8_fp16 import Int8Fp16
from edgeattn.quantize.method import Calibrated, Method

every_method = pytest.mark.parametrize("name", list(METHODS))


@every_method
def test_its_name_and_options_are_those_that_a_recipe_gives(name):
    method = METHODS[name]
    assert issubclass(method, Method)
    assert method.name == name
    assert method.needs_calibration == issubclass(method.Options, Calibrated)
    assert method.Options.model_config["extra"] == "forbid"
    assert method.Options() == method.Options.model_validate(json.loads(method.Options().model_dump_json()))
    assert all(field.description for field in method.Options.model_fields.values())


def test_the_more_precise_comes_first():
    floors = [METHODS[name].least_cosine for name in METHODS]
    assert floors == sorted(floors, reverse=True)


@every_method
def test_what_it_starts_from_is_more_precise(name):
    names = list(METHODS)
    start = METHODS[name].starts_from
    assert start is None or names.index(start) < names.index(name)


@every_method
def test_its_graph_computes_the_same_at_any_batch_and_length(name, tmp_path):
    method, source = METHODS[name], case.save(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "dense.onnx"
    calibration = case.samples(6) if method.needs_calibration else []
    start = source
    if method.starts_from is not None:
        (tmp_path / "start").mkdir()
        start = tmp_path / "start" / "dense.onnx"
        first = METHODS[method.starts_from]
        first.quantize(source, start, cpu=None, calibration=calibration, options=first.Options())
    facts = method.quantize(start, out, cpu=None, calibration=calibration, options=method.Options())
    json.dumps(facts, allow_nan=False)
    assert sorted(file.name for file in out.parent.iterdir()) == ["dense.onnx", "dense.onnx.data"]
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()} == before
    for shape in ((1, 1), (1, 40), (3, 9)):
        x = np.random.default_rng(0).normal(size=(*shape, case.C)).astype(np.float32)
        found = case.outputs(out, x)
        assert found.shape == x.shape
        assert row_cosines(found, case.outputs(source, x)).min() >= method.least_cosine
    graphs = [onnx.load(path, load_external_data=False).graph for path in (source, out)]
    names = [[value.name for value in (*graph.input, *graph.output)] for graph in graphs]
    assert names[0] == names[1]


# --- every kind of attention ---------------------------------------------------------------------------------

GRAPHS = variant_graphs.DISTINCT
# How many tokens are merged follows the length, and TensorRT 8.5 takes no K of TopK that is computed.
REFUSED_BY = {variant_graphs.MERGING: {"8.5.2"}}


@pytest.fixture(scope="module")
def exported(tmp_path_factory, one_operator_table):
    """name -> its fp32 graph, of opset 17."""
    root = tmp_path_factory.mktemp("variants")
    for name in GRAPHS:
        (root / name).mkdir()
    return {name: variant_graphs.save(name, root / name) for name in GRAPHS}


@pytest.fixture(scope="module")
def in_int8(exported, tmp_path_factory):
    """name -> its int8 graph. One process quantizes all of them: most of NNCF's time is that of importing it."""
    root = tmp_path_factory.mktemp("int8")
    jobs = []
    for name, graph in exported.items():
        folder = root / name
        folder.mkdir()
        save_feeds(folder / "calibration.npz", taken(graph, variant_graphs.samples(name, 10)))
        options = Int8Options().model_dump()
        jobs.append(
            {"graph": str(graph), "out": str(folder / "int8.onnx"), "folder": str(folder), "seven_bits": False,
             "options": options}
        )  # fmt: skip
    script = "import json, sys\nfrom edgeattn.quantize.int8 import work\nfor job in json.load(sys.stdin): work(job)"
    subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(jobs), text=True, capture_output=True, check=True, timeout=600
    )
    return {name: root / name / "int8.onnx" for name in exported}


def taken(graph, samples):
    """The samples without what the graph does not read, such as a mask."""
    names = {value.name for value in onnx.load(graph, load_external_data=False).graph.input}
    return [{key: array for key, array in sample.items() if key in names} for sample in samples]


def least_cosine(name, graph, source):
    """On samples that have padding, and have not calibrated."""
    samples = taken(source, variant_graphs.samples(name, 4, seed=5))
    for sample in samples:
        if "key_mask" in sample:
            sample["key_mask"][:, -2:] = False
    before, after = (
        [InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, sample)[0] for sample in samples]
        for path in (source, graph)
    )
    assert all(np.isfinite(array).all() for array in after)
    return min(float(row_cosines(a.reshape(1, -1), b.reshape(1, -1))[0]) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("name", GRAPHS)
def test_fp16_keeps_every_kind_of_attention(name, exported, tmp_path):
    source, out = exported[name], tmp_path / "model.onnx"
    samples = taken(source, variant_graphs.samples(name, 5))
    facts = Fp16.quantize(source, out, cpu=None, calibration=samples, options=Fp16Options())
    assert facts["fp16_cosine"] > 0.9999
    assert least_cosine(name, out, source) > 0.9999
    assert set(check_graphs.refused_by_a_jetson(out)) <= REFUSED_BY.get(name, set())
    model = onnx.load(out)
    assert {entry.domain: entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")} == {"": 17}
    onnx.shape_inference.infer_shapes(model, strict_mode=True)


@pytest.mark.parametrize("name", GRAPHS)
def test_int8_and_both_keep_every_kind_of_attention(name, exported, in_int8, tmp_path):
    source, pairs, out = exported[name], in_int8[name], tmp_path / "model.onnx"
    assert least_cosine(name, pairs, source) > 0.98
    Int8Fp16.quantize(
        pairs, out, cpu=None, calibration=taken(source, variant_graphs.samples(name, 5)), options=Fp16Options()
    )
    assert least_cosine(name, out, source) > 0.98
    for graph in (pairs, out):
        assert set(check_graphs.refused_by_a_jetson(graph)) <= REFUSED_BY.get(name, set())
    onnx.shape_inference.infer_shapes(onnx.load(out), strict_mode=True)
