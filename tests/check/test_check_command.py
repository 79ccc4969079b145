"""`edgeattn check`: what it prints, and what it refuses before native code sees it."""

from __future__ import annotations

import json
import os

import numpy as np
import onnx
import pytest
import tiny_bundle
from check_graphs import F32, save
from onnx import helper

from edgeattn.cli.main import run

node = helper.make_node
X = {"x": (F32, [1, 4, 8])}
Y = {"y": (F32, [1, 4, 8])}


@pytest.fixture
def norm(tmp_path):
    nodes = [node("LayerNormalization", ["x", "w"], ["y"], name="norm")]
    return save(tmp_path / "norm.onnx", nodes, X, Y, {"w": np.ones(8, np.float32)})


def test_a_graph_that_every_release_takes(tmp_path, capsys):
    path = save(tmp_path / "a.onnx", [node("Relu", ["x"], ["y"])], X, Y)
    assert run(["check", str(path), "--target", "jetson"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "candidate"
    assert "TensorRT 8.5.2" in head
    assert "TensorRT 10.3.0" in head
    assert row.split() == ["a.onnx", *["yes"] * 6, "not", "run"]


def test_a_graph_that_one_release_does_not_take(norm, capsys):
    assert run(["check", str(norm), "--target", "jetson"]) == 1
    out, err = capsys.readouterr()
    (line,) = [line for line in out.splitlines() if line.startswith("error")]
    assert "norm  LayerNormalization  LayerNormalization is not supported [operator]" in line
    assert "JetPack 5.1 to 5.1.6 (TensorRT 8.5.2)" in line
    assert "write it out in fp32" in line
    assert err.startswith(f"error: {norm}: not every release takes it\n  fix: follow the remedies above")


def test_as_json(norm, capsys):
    assert run(["check", str(norm), "--target", "jetson", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is False
    (checked,) = document["candidates"]
    assert checked["operators"] == {"LayerNormalization": 1}
    assert [release["passed"] for release in checked["releases"]] == [False, *[True] * 5]
    (finding,) = checked["findings"]
    assert finding["source"] == "https://github.com/onnx/onnx-tensorrt/blob/8.5-GA/docs/operators.md"


def test_a_graph_without_a_device(norm, capsys):
    assert run(["check", str(norm)]) == 2
    assert "--target: no device is named" in capsys.readouterr().err


def external(folder, location="w.data", **entries):
    """A graph whose weights are said to be in `location`."""
    values = np.ones((8, 8), np.float32)
    path = save(folder / "a.onnx", [node("MatMul", ["x", "w"], ["y"])], X, Y, {"w": values})
    model = onnx.load(path)
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": 0, "length": values.nbytes, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    path.write_bytes(model.SerializeToString())
    (folder / "w.data").write_bytes(values.tobytes())
    return path


def test_weights_beside_the_graph(tmp_path):
    assert run(["check", str(external(tmp_path)), "--target", "jetson"]) == 0


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"location": "../w.data"}, "has its data in '../w.data', outside of the graph's folder"),
        ({"location": "/etc/passwd"}, "has its data in '/etc/passwd', outside of the graph's folder"),
        ({"location": "gone.data"}, "has its data in 'gone.data', which is missing"),
        ({"location": "link.data"}, "has its data in 'link.data', which is a link"),
        ({"location": "hard.data"}, "has its data in 'hard.data', which has other names (hard links)"),
        ({"location": "inside/w.data"}, "has its data in 'inside/w.data', which is a link"),
        ({"offset": 2**50, "length": 2**50}, "has its data at bytes 1125899906842624 to 2251799813685248"),
        ({"offset": -8}, "has an invalid reference to its data"),
        ({"length": 1000}, "which has 256"),
    ],
)
def test_weights_that_are_not_beside_the_graph(tmp_path, capsys, entries, said):
    path = external(tmp_path, **entries)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "w.data").write_bytes(bytes(256))
    (tmp_path / "link.data").symlink_to(tmp_path / "other" / "w.data")
    (tmp_path / "inside").symlink_to(tmp_path / "other")
    (tmp_path / "more.data").write_bytes(bytes(256))
    os.link(tmp_path / "more.data", tmp_path / "hard.data")
    assert run(["check", str(path), "--target", "jetson"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not an ONNX graph: 0 bytes"),
        (b"This is a text and not a graph at all.\n" * 9, "not a sound ONNX graph: is not an ONNX model"),
        (bytes(4096), "not a sound ONNX graph: is not an ONNX model"),
    ],
)
def test_files_that_are_no_graphs(tmp_path, capsys, content, said):
    (tmp_path / "a.onnx").write_bytes(content)
    assert run(["check", str(tmp_path / "a.onnx"), "--target", "jetson"]) == 2
    assert said in capsys.readouterr().err


def test_two_nodes_that_make_the_same_value(tmp_path, capsys):
    path = save(tmp_path / "a.onnx", [node("Relu", ["x"], ["y"])], X, Y)
    model = onnx.load(path)
    model.graph.node.append(node("Neg", ["x"], ["y"]))
    path.write_bytes(model.SerializeToString())
    assert run(["check", str(path), "--target", "jetson"]) == 2
    assert "SSA" in capsys.readouterr().err


def test_an_input_without_a_type(tmp_path, capsys):
    path = save(tmp_path / "a.onnx", [node("Relu", ["x"], ["y"])], X, Y)
    model = onnx.load(path)
    model.graph.input[0].ClearField("type")
    path.write_bytes(model.SerializeToString())
    assert run(["check", str(path), "--target", "jetson"]) == 2
    assert "'type' of 'value_info' is required but missing" in capsys.readouterr().err


def test_the_parser_s_own_build(norm, capsys):
    pytest.importorskip("tensorrt_rtx")
    assert run(["check", str(norm), "--target", "rtx", "--build", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["candidates"][0]["preflight"]["passed"] is True
    assert document["candidates"][0]["preflight"]["built_for"] == "8.6"


def test_a_build_that_the_parser_refuses(tmp_path, capsys):
    pytest.importorskip("tensorrt_rtx")
    path = save(tmp_path / "a.onnx", [node("Det", ["x"], ["y"], name="det")], {"x": (F32, [4, 4])}, {"y": (F32, [])})
    assert run(["check", str(path), "--target", "rtx", "--build", "--json"]) == 1
    (checked,) = json.loads(capsys.readouterr().out)["candidates"]
    assert [finding["node"] for finding in checked["findings"]] == ["det"]
    assert checked["preflight"]["passed"] is False
    assert checked["preflight"]["problems"][0]["operator"] == "Det"


def test_the_candidates_of_a_bundle(tmp_path, capsys):
    """Each is held to the parsers of the runtimes that it is for: here ONNX Runtime's alone."""
    tiny_bundle.make(tmp_path / "tiny", target={"name": "jetson"}, candidates={"fp32": tiny_bundle.graph()})
    assert run(["check", str(tmp_path / "tiny")]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["candidate", "onnxruntime", "pre-flight"]
    assert [row.split()[:3] for row in rows] == [["efficient", "fp32", "yes"], ["dense", "fp32", "yes"]]


def test_a_built_bundle_for_another_device(tmp_path, capsys):
    tiny_bundle.make(tmp_path / "tiny")
    assert run(["check", str(tmp_path / "tiny"), "--target", "jetson", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["target"] == "jetson"
    assert [each["name"] for each in document["candidates"]] == ["efficient", "dense"]
