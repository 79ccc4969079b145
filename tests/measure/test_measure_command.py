"""`edgeattn measure`, as a user calls it on a device."""

from __future__ import annotations

import json

import graph_folders
import onnx

from edgeattn.cli.main import run
from edgeattn.measure.graphs import GRAPH, write


def test_measures_in_both_runtimes(tmp_path, capsys):
    graph_folders.make(tmp_path / "graphs", "hedgehog", lengths=(4, 8))
    assert run(["measure", str(tmp_path / "graphs"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["notes"] == []
    assert [(cell["length"], cell["projections"]) for cell in document["cells"]] == [
        (4, False), (4, True), (8, False), (8, True),
    ]  # fmt: skip
    for cell in document["cells"]:
        assert set(cell["dense"]["forms_ms"]) == {
            "onnxruntime MultiHeadAttention", "onnxruntime plain", "openvino plain",
        }  # fmt: skip
        assert set(cell["variants"]["hedgehog"]["forms_ms"]) == {"onnxruntime plain", "openvino plain"}
    assert sorted(path.name for path in (tmp_path / "graphs").glob("*.json")) == ["graphs.json"]


def test_a_form_that_a_runtime_cannot_load_is_left_out(tmp_path, capsys):
    graphs = graph_folders.make(tmp_path / "graphs", "hedgehog")
    text = graph_folders.TEXT.format(inputs=graph_folders.INPUTS[True], nodes="out = com.microsoft.None(hidden_states)")
    model = onnx.parser.parse_model(text)
    onnx.save(model, graphs.path / "dense-MultiHeadAttention-projections" / GRAPH)
    graphs.document.unlink()
    write(graphs.path, graphs.listing)
    assert run(["measure", str(graphs.path)]) == 0
    printed = capsys.readouterr().out
    assert "dense onnxruntime MultiHeadAttention from N = 4: left out, onnxruntime " in printed
    assert "the letter is the runtime of the fastest form: a onnxruntime, b openvino\n" in printed
    assert "fastest form of dense: onnxruntime MultiHeadAttention in " in printed


def test_a_tampered_graph_is_refused(tmp_path, capsys):
    graph_folders.make(tmp_path / "graphs", "hedgehog")
    (tmp_path / "graphs/hedgehog-plain-core/model.onnx").write_bytes(b"other")
    assert run(["measure", str(tmp_path / "graphs")]) == 2
    assert "hedgehog-plain-core/model.onnx: has 5 bytes; graphs.json says " in capsys.readouterr().err


def test_a_bundle_is_no_folder_of_graphs(tmp_path, capsys):
    (tmp_path / "bundle.json").write_text("{}")
    assert run(["measure", str(tmp_path)]) == 2
    assert f"error: {tmp_path}: holds no graphs.json\n  fix: make it with" in capsys.readouterr().err
