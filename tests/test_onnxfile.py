"""ONNX files are read as the onnx package reads them, and any other bytes are refused as a BundleError."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import tiny_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgeattn.errors import BundleError
from edgeattn.onnxfile import below, last, read_onnx

WHOLE = tiny_bundle.graph(dense=True).SerializeToString()
CORPUS = sorted(Path(onnx.__path__[0]).rglob("*.onnx"))
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def written(folder: Path, content: bytes) -> Path:
    (folder / "model.onnx").write_bytes(content)
    return folder / "model.onnx"


def known(message):
    """The kept fields of a model, as onnxfile reads them."""
    graph = message["graph"][0]
    return (
        last(message, "ir_version", 0),
        [last(value, "name", "") for key in ("input", "output") for value in graph.get(key, [])],
        sorted((last(node, "domain", ""), last(node, "op_type", "")) for node in below(message, "node")),
        sorted(last(tensor, "name", "") for tensor in below(message, "tensor")),
    )


def expected(model):
    """The same fields, as the onnx package reads them."""
    nodes, tensors = [], []

    def visit(message):
        if isinstance(message, onnx.NodeProto):
            nodes.append((message.domain, message.op_type))
        if isinstance(message, onnx.TensorProto):
            tensors.append(message.name)
        for field, value in message.ListFields():
            if field.message_type is not None and field.name not in ("type", "type_proto", "metadata_props"):
                for part in value if field.is_repeated else [value]:
                    visit(part)

    visit(model)
    values = [value.name for value in (*model.graph.input, *model.graph.output)]
    return model.ir_version, values, sorted(nodes), sorted(tensors)


@pytest.mark.parametrize("path", CORPUS[:: max(1, len(CORPUS) // 40)], ids=lambda path: path.parent.name)
def test_files_of_the_onnx_package_are_read_as_it_reads_them(path):
    model = onnx.load(path, load_external_data=False)
    assert known(read_onnx(path)) == expected(model)


def test_subgraphs_functions_and_tensors_in_attributes_are_found(tmp_path):
    def body(name, domain=""):
        return helper.make_graph([helper.make_node(name, ["x"], ["y"], domain=domain)], name, [], [])

    constant = helper.make_tensor("hidden", TensorProto.FLOAT, [1], [1.0])
    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=body("Deep", "evil"), else_branch=body("Relu")),
        helper.make_node("Constant", [], ["z"], value=constant),
    ]
    function = helper.make_function("evil", "F", ["x"], ["y"], [helper.make_node("Native", ["x"], ["y"], domain="so")],
                                    [helper.make_opsetid("", 18)])  # fmt: skip
    model = helper.make_model(helper.make_graph(nodes, "g", [], []), functions=[function])
    model.training_info.add().algorithm.CopyFrom(body("Adam", "train"))
    found = read_onnx(written(tmp_path, model.SerializeToString()))
    assert known(found) == expected(model)
    assert {"Deep", "Native", "Adam"} <= {last(node, "op_type", "") for node in below(found, "node")}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"ir_version: 8\ngraph {}\n", "broken field|cut off"),
        (b"\x08\x09", "it holds no graph"),
        (b"\x3a\x00", "it holds no graph"),
        (WHOLE[:-1], "broken field"),
        (WHOLE + WHOLE, "it holds no graph"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "broken field"),
        (b"\x08" + b"\xff" * 20, "cut off"),
        (b"\x3d\x00\x00\x00\x00", r"Model\.graph is of another type"),
        (b"\x3a\x06\x0a\x04\x22\x02\xff\xfe", "can't decode byte 0xff"),
    ],
)
def test_what_is_not_a_model_is_refused(tmp_path, content, said):
    with pytest.raises(BundleError, match=rf"model\.onnx: is not an ONNX model: .*({said})") as caught:
        read_onnx(written(tmp_path, content))
    assert caught.value.exit_code == 2


def test_deep_nesting_is_refused(tmp_path):
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [])
    for _ in range(25):
        graph = helper.make_graph([helper.make_node("Loop", [], ["y"], body=graph)], "g", [], [])
    with pytest.raises(BundleError, match="nested more than 60 messages deep"):
        read_onnx(written(tmp_path, helper.make_model(graph).SerializeToString()))


def test_endless_fields_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("edgeattn.onnxfile._MOST_FIELDS", 1000)
    with pytest.raises(BundleError, match="broken field"):
        read_onnx(written(tmp_path, b"\x08\x09" * 2000))


@given(st.binary(max_size=200))
@in_one_folder
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    _read_or_refused(tmp_path_factory, content)


@given(st.data())
@in_one_folder
def test_any_change_of_a_model_is_read_or_refused(tmp_path_factory, data):
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    _read_or_refused(tmp_path_factory, bytes(content))


def _read_or_refused(tmp_path_factory, content):
    path = written(tmp_path_factory.getbasetemp(), content)
    try:
        message = read_onnx(path)
    except BundleError:
        return
    known(message)  # what is read can be looked at
