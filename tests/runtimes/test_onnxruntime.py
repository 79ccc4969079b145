"""The ONNX Runtime engine: settings only, tuned by timing, and the graph's own outputs."""

from __future__ import annotations

import json
import logging
import sys

import numpy as np
import onnx
import pytest
import tiny_bundle

from edgeattn.devices import usable_threads
from edgeattn.errors import BundleError, DeviceError, InputError
from edgeattn.runtimes import RUNTIMES
from edgeattn.runtimes.onnxruntime import RUNTIME, default_settings, write_engine


@pytest.fixture
def root(tmp_path):
    """A folder with a graph and its engine with default settings."""
    onnx.save(tiny_bundle.graph(), tmp_path / "model.onnx")
    write_engine(tmp_path / "engine", default_settings(tmp_path / "model.onnx", "fp32"))
    return tmp_path


def edit(root, **changes):
    path = root / "engine" / "engine.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_an_engine_is_a_configuration_and_copies_no_weights(root):
    plain, other = RUNTIME.configurations(None)
    assert (plain.name, plain.settings) == ("default", {})
    document = RUNTIME.build(root / "model.onnx", root / "built", method="fp32", configuration=other)
    assert [path.name for path in (root / "built").iterdir()] == ["engine.json"]
    assert json.loads((root / "built" / "engine.json").read_text()) == document
    assert (document["graph"], document["method"]) == ("model.onnx", "fp32")
    facts = RUNTIME.load(root, root / "built").describe()
    assert (facts["tuned_here"], facts["disabled_optimizers"]) == (True, ["SkipLayerNormFusion"])


def test_outputs_are_those_of_the_reference_evaluator(root):
    inputs = tiny_bundle.samples(3)
    session = RUNTIME.load(root, root / "engine")
    found = session.run(inputs)["sentence_embedding"]
    np.testing.assert_allclose(found, tiny_bundle.answers(tiny_bundle.graph(), inputs), atol=1e-6)
    facts = session.describe()
    assert facts["providers"] == ["CPUExecutionProvider"]
    assert facts["threads"] == usable_threads()
    assert RUNTIME.load(root, root / "engine", threads=2).describe()["threads"] == 2


@pytest.mark.parametrize("change", [{"version": "1.20.0"}, {"instruction_sets": ["neon"]}])
def test_an_engine_tuned_elsewhere_runs_with_defaults_and_says_so(root, caplog, change):
    edit(root, disabled_optimizers=["SkipLayerNormFusion"], **change)
    with caplog.at_level(logging.WARNING, "edgeattn"):
        facts = RUNTIME.load(root, root / "engine").describe()
    assert (facts["tuned_here"], facts["disabled_optimizers"]) == (False, [])
    assert "running with default settings" in caplog.text


@pytest.mark.parametrize("graph", ["../model.onnx", "/etc/passwd", "a/../../b", "", "a\\b"])
def test_a_graph_outside_the_bundle_is_refused(root, graph):
    edit(root, graph=graph)
    with pytest.raises(BundleError, match="is not the name of an ONNX file directly in the bundle") as raised:
        RUNTIME.load(root, root / "engine")
    assert raised.value.where == str(root / "engine" / "engine.json")


def test_what_is_wrong_with_an_engine_is_named(root):
    edit(root, graph="gone.onnx")
    with pytest.raises(BundleError, match=r"the engine's graph gone\.onnx is missing"):
        RUNTIME.load(root, root / "engine")
    edit(root, custom_operators="evil.so")
    with pytest.raises(BundleError, match="custom_operators: Extra inputs are not permitted"):
        RUNTIME.load(root, root / "engine")
    (root / "engine" / "engine.json").unlink()
    with pytest.raises(BundleError, match=r"engine\.json: cannot be read: No such file"):
        RUNTIME.load(root, root / "engine")


def test_a_missing_runtime_says_how_to_get_it(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert RUNTIME.version() is None
    with pytest.raises(DeviceError, match="onnxruntime is not installed") as raised:
        RUNTIME.load(root, root / "engine")
    assert raised.value.fix == "pip install 'edgeattn[onnxruntime]'"


def test_a_wrong_name_gets_the_nearest():
    with pytest.raises(InputError) as raised:
        RUNTIMES["onnxruntimes"]
    assert "did you mean 'onnxruntime'" in str(raised.value)
