"""A folder of graphs is checked before native code sees one."""

from __future__ import annotations

import json

import graph_folders
import onnx
import pytest

from edgeattn.errors import BundleError
from edgeattn.measure.graphs import GRAPH, LISTING, Graphs, write
from edgeattn.store import write_json


@pytest.fixture
def folder(tmp_path):
    return graph_folders.make(tmp_path / "graphs", "hedgehog").path


def change(folder, **values):
    document = json.loads((folder / LISTING).read_text())
    write_json(folder / LISTING, {**document, **values})


def test_what_was_written_can_be_opened(folder):
    opened = Graphs.open(folder)
    assert opened.name == "crossover of 2 heads of 8"
    assert sorted(opened.files()) == sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(BundleError, match=r"holds no graphs\.json") as caught:
        Graphs.open(tmp_path)
    assert caught.value.fix == (
        "make it with `edgeattn crossover --export FOLDER`; a bundle is timed by `edgeattn bench`"
    )


def test_a_graph_that_was_changed(folder):
    graph = folder / "hedgehog-plain-core" / GRAPH
    data = bytearray(graph.read_bytes())
    data[-1] ^= 1
    graph.write_bytes(data)
    with pytest.raises(BundleError, match=r"was changed: its digest is sha256:.*; graphs\.json says") as caught:
        Graphs.open(folder)
    assert caught.value.where == str(graph)


def test_a_graph_that_is_missing(folder):
    (folder / "hedgehog-plain-core" / GRAPH).unlink()
    with pytest.raises(BundleError, match="is missing"):
        Graphs.open(folder)


def test_a_link_in_place_of_a_folder(folder, tmp_path):
    (folder / "hedgehog-plain-core").rename(tmp_path / "elsewhere")
    (folder / "hedgehog-plain-core").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="is a link"):
        Graphs.open(folder)


def test_a_path_that_leaves_the_folder(folder):
    files = json.loads((folder / LISTING).read_text())["files"]
    change(folder, files={**files, "../outside": next(iter(files.values()))})
    with pytest.raises(BundleError, match=r"'\.\./outside', which is not a path inside"):
        Graphs.open(folder)


def test_a_signed_graph_that_reads_a_file_outside(folder):
    model = graph_folders.graph("plain", False)
    weight = model.graph.initializer.add(name="w", data_type=onnx.TensorProto.FLOAT, dims=[1])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../../etc/passwd")
    (folder / "hedgehog-plain-core" / GRAPH).write_bytes(model.SerializeToString())
    listing = Graphs.open(graph_folders.make(folder.parent / "other", "hedgehog").path).listing
    (folder / LISTING).unlink()
    write(folder, listing)
    with pytest.raises(BundleError, match=r"has its data in '../../../etc/passwd', which is not a file of the bundle"):
        Graphs.open(folder)


def test_a_graph_with_other_inputs_than_the_setting_s(folder):
    change(folder, head_dim=16)
    with pytest.raises(BundleError, match=r"input 'q' has the shape \['b', 'n', 16\]; graphs\.json says"):
        Graphs.open(folder)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"schema_version": 9}, "has schema version 9; this edgeattn reads version 1"),
        ({"lengths": [8, 4]}, r"the lengths \[8, 4\] are not in ascending order"),
        ({"lengths": [4, 8]}, "dense-MultiHeadAttention-core has 1 memory_bytes for 2 lengths"),
        ({"options": {}}, "hedgehog-plain-core is of hedgehog, which is not among the options"),
        ({"command": "rm"}, "Extra inputs are not permitted"),
        ({"effort": {"rounds": 10**9}}, "effort.rounds: Input should be less than or equal to 1000"),
    ],
)
def test_a_document_that_is_wrong(folder, values, said):
    change(folder, **values)
    with pytest.raises(BundleError, match=said):
        Graphs.open(folder)


def test_an_unknown_runtime(folder):
    forms = json.loads((folder / LISTING).read_text())["forms"]
    change(folder, forms=[{**forms[0], "runtimes": ["openvina"]}])
    with pytest.raises(BundleError, match="needs the unknown runtime 'openvina'") as caught:
        Graphs.open(folder)
    assert caught.value.fix == "did you mean 'openvino'? known: onnxruntime, openvino, tensorrt, tensorrt_rtx"
