"""What every quantization method keeps: its contract in edgeattn/quantize/method.py."""

from __future__ import annotations

import json

import attention_graph as case
import numpy as np
import onnx
import pytest

from edgeattn.metrics import row_cosines
from edgeattn.quantize import METHODS
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
