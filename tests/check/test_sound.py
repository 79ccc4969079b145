"""Files that are not graphs are refused before a runtime's native parser sees them."""

from __future__ import annotations

import subprocess
import sys

import onnx
import pytest
import tiny_bundle
from onnx import TensorProto, helper

from edgeattn.check.sound import check_graph
from edgeattn.errors import ModelError


def test_facts_of_a_sound_graph(tmp_path):
    onnx.save(tiny_bundle.graph(), tmp_path / "a.onnx")
    facts = check_graph(tmp_path / "a.onnx")
    assert facts["opset"] == 18
    assert facts["operators"]["MatMul"] == 2
    assert facts["nodes"] == sum(facts["operators"].values())


def test_the_worker_that_checks_loads_no_torch():
    """It would cost every graph of a compile some seconds."""
    code = "import sys, edgeattn.check.sound; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("content", "size"), [(b"", 0), (b"text", 4)])
def test_an_empty_file(tmp_path, content, size):
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=rf"a\.onnx: not an ONNX graph: {size} bytes") as caught:
        check_graph(tmp_path / "a.onnx")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("content", [b"This is a text and not a graph at all.\n" * 9, b"\x00" * 4096, b"\x08\x80" * 99])
def test_text_and_noise(tmp_path, content):
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.onnx: not a sound ONNX graph: .+"):
        check_graph(tmp_path / "a.onnx")


def test_ir_version_0(tmp_path):
    model = tiny_bundle.graph()
    model.ir_version = 0
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"not a sound ONNX graph: IR version 0; ONNX files have 3 or later"):
        check_graph(tmp_path / "a.onnx")


def test_a_graph_cut_off(tmp_path):
    whole = tiny_bundle.graph().SerializeToString()
    (tmp_path / "a.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="not a sound ONNX graph"):
        check_graph(tmp_path / "a.onnx")


def test_a_cycle(tmp_path):
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "b")]
    model = helper.make_model(helper.make_graph(nodes, "cycle", value[:1], value[1:]), ir_version=9)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"not a sound ONNX graph: .*(sorted|output of any previous)"):
        check_graph(tmp_path / "a.onnx")
