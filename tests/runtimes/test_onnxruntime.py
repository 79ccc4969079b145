"""The ONNX Runtime engine: settings only. What it shares with other runtimes is in tests/contracts/test_runtimes.py."""

from __future__ import annotations

import onnx
import pytest
import tiny_bundle

from edgeattn.runtimes.onnxruntime import RUNTIME


@pytest.fixture
def root(tmp_path):
    """A folder with a graph."""
    onnx.save(tiny_bundle.graph(), tmp_path / "model.onnx")
    return tmp_path


def test_an_engine_is_a_configuration_and_copies_no_weights(root):
    plain, other = RUNTIME.configurations(None)
    assert (plain.name, plain.settings) == ("default", {})
    document = RUNTIME.build(root / "model.onnx", root / "built", method="fp32", configuration=other)
    assert [path.name for path in (root / "built").iterdir()] == ["engine.json"]
    assert (document["graph"], document["method"]) == ("model.onnx", "fp32")
    facts = RUNTIME.load(root, root / "built").describe()
    assert facts["disabled_optimizers"] == ["SkipLayerNormFusion"]
    assert facts["providers"] == ["CPUExecutionProvider"]
