"""The ONNX Runtime engine: settings only. What it shares with other runtimes is in tests/contracts/test_runtimes.py."""

from __future__ import annotations

import onnx
import onnxruntime
import pytest
import tiny_bundle

from edgeattn.errors import DeviceError
from edgeattn.runtimes.onnxruntime import ON_CUDA, RUNTIME


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
    assert facts["nodes_elsewhere"] == 0


def test_on_a_gpu_it_is_tried_on_the_cpu_and_on_the_gpu(root, monkeypatch):
    monkeypatch.setattr(
        "onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    names = [each.name for each in RUNTIME.configurations(None)]
    assert names == ["default", "no SkipLayerNormFusion", "cuda"]


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="it has the provider")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_an_engine_for_a_gpu_never_runs_on_the_cpu_instead(root):
    assert "cuda" not in [each.name for each in RUNTIME.configurations(None)]
    RUNTIME.build(root / "model.onnx", root / "built", method="fp32", configuration=ON_CUDA)
    with pytest.raises(DeviceError, match=r"this onnxruntime \S+ cannot run the engine on CUDAExecutionProvider"):
        RUNTIME.load(root, root / "built")
