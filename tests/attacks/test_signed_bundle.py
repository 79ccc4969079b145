"""A bundle that was changed together with its digests: refused before native code sees it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_bundle
from onnx import TensorProto, helper

from edgeattn.cli.main import run


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound bundle whose efficient weights lie in model.onnx.data."""
    path = tmp_path_factory.mktemp("original") / "tiny"
    model = tiny_bundle.graph()
    bundle = tiny_bundle.make(path, efficient=model)
    onnx.save(model, path / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=512)
    document = json.loads((path / "bundle.json").read_text())
    document["files"]["model.onnx.data"] = document["files"]["model.onnx"]
    (path / "bundle.json").write_text(json.dumps(document))
    resign(path)
    assert bundle.path == path
    return path


@pytest.fixture
def tiny(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "tiny"))


@pytest.fixture
def refused(tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`edgeattn verify` exits with 2 and says why in fact, place and remedy, without starting a worker."""

    def native(*_: object, **__: object) -> None:
        raise AssertionError("native code was reached")

    def check(said: str) -> None:
        resign(tiny)
        monkeypatch.setattr("edgeattn.worker._Child.__init__", native)
        assert run(["verify", str(tiny)]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.startswith(f"error: {tiny}/")
        assert "\n  fix: " in error
        assert not (tiny / "verify.json").exists()

    return check


def resign(path: Path) -> None:
    """Update the digests of graphs in the engines, then those of all files."""
    for side, graph in (("efficient", "model.onnx"), ("dense", "dense.onnx")):
        engine = path / "engine" / side / "engine.json"
        document = json.loads(engine.read_text())
        if "graph_sha256" in document and document["graph_sha256"] != "sha256:" + "1" * 64:
            document["graph_sha256"] = tiny_bundle.sha256_file(path / graph)
            engine.write_text(json.dumps(document))
    tiny_bundle.sign(path)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def edit_graph(path: Path, change: Callable[[onnx.ModelProto], object]) -> None:
    model = onnx.load(path, load_external_data=False)
    change(model)
    path.write_bytes(model.SerializeToString())


def test_the_original_passes(tiny: Path) -> None:
    assert run(["verify", str(tiny)]) == 0


# --- graphs --------------------------------------------------------------------------------------------------


def place(model: onnx.ModelProto, **entries: str) -> None:
    """Rewrite the reference to the data of the first weight."""
    weight = model.graph.initializer[0]
    del weight.external_data[:]
    weight.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        weight.external_data.add(key=key, value=value)


def hidden(model: onnx.ModelProto) -> None:
    """External data of a constant in a subgraph."""
    tensor = TensorProto(name="hidden", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    inner = helper.make_graph([helper.make_node("Constant", [], ["z"], value=tensor)], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["one"], ["w"], then_branch=inner, else_branch=inner))


def input_type(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def fixed_length(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: place(m, location="../../etc/passwd"), "has its data in '../../etc/passwd', which is not a file"),
        (lambda m: place(m, location="/etc/passwd"), "has its data in '/etc/passwd', which is not a file"),
        (lambda m: place(m, location="*/_ORT_MEM_ADDR_/*", offset="94", length="9"), "which is not a file"),
        (lambda m: place(m, location="model.onnx.data", offset="9" * 17, length="4"), "at bytes 9999999999"),
        (lambda m: place(m, location="model.onnx.data", offset="0", length="1000000"), "to 1000000 of model.onnx.data"),
        (lambda m: place(m, location="model.onnx.data", offset="9" * 30), "invalid reference to its data"),
        (lambda m: place(m, location="model.onnx.data", offset="-4"), "invalid reference to its data"),
        (lambda m: place(m), "invalid reference to its data"),
        (hidden, "tensor 'hidden' has its data in '/etc/passwd'"),
        (lambda m: m.graph.node.add(op_type="Backdoor", domain="evil.ops"), "the operator 'Backdoor' of 'evil.ops'"),
        (lambda m: setattr(m, "ir_version", 0), "has IR version 0; ONNX files have 3 or later"),
        (lambda m: setattr(m, "ir_version", -5), "has IR version"),
        (input_type, "input 'input_ids' is float32; bundle.json says int64"),
        (fixed_length, "input 'input_ids' has the shape ['batch', 7]; bundle.json says ['batch', 'sequence']"),
        (lambda m: setattr(m.graph.output[0], "name", "other"), "'sentence_embedding' of bundle.json is not"),
        (lambda m: setattr(m.graph.input[0], "name", "other"), "has the input 'other', which bundle.json does not"),
        (lambda m: m.ClearField("graph"), "is not an ONNX model: it holds no graph"),
    ],
)  # fmt: skip
def test_a_harmful_graph(
    tiny: Path, refused: Callable[[str], None], change: Callable[[onnx.ModelProto], object], said: str
) -> None:
    edit_graph(tiny / "model.onnx", change)
    refused(said)


@pytest.mark.parametrize("content", [b"", b"ir_version: 8 graph { }", b"\x80\x02cposix\nsystem\n", b"\0" * 100])
def test_a_file_that_is_no_graph(tiny: Path, refused: Callable[[str], None], content: bytes) -> None:
    (tiny / "dense.onnx").write_bytes(content)
    refused("dense.onnx: is not an ONNX model: ")


def test_weights_that_are_a_link(tiny: Path, refused: Callable[[str], None], tmp_path: Path) -> None:
    (tiny / "model.onnx.data").rename(tmp_path / "weights")
    (tiny / "model.onnx.data").symlink_to(tmp_path / "weights")
    refused("model.onnx.data: is a link")


def test_a_graph_that_onnx_runtime_cannot_load(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A valid file whose operators are in the runtime's domain: only the runtime can refuse it."""
    edit_graph(tiny / "model.onnx", lambda model: setattr(model.graph.node[0], "op_type", "Gathr"))
    resign(tiny)
    assert run(["verify", str(tiny)]) == 2
    error = capsys.readouterr().err
    assert f"error: {tiny}/model.onnx: onnxruntime " in error
    assert "cannot load the graph: " in error
    assert "Gathr" in error
    assert "\n  fix: compile the bundle again for a target with onnxruntime " in error


# --- arrays ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "key", "change", "said"),
    [
        ("samples", "input.input_ids", lambda x: x.astype(str), "samples of 'input_ids' are <U"),
        ("samples", "input.input_ids", lambda x: x[:, :0], "of shape [4, 0], which do not fit int64"),
        ("samples", "input.input_ids", lambda x: x[:, :, None], "which do not fit int64 ['batch', 'sequence']"),
        ("samples", "input.attention_mask", lambda x: x[:, 1:], "'attention_mask' are int64 of shape [4, 11]"),
        ("samples", "input.attention_mask", lambda x: x[1:], "empty or differ in number"),
        ("samples", "input.attention_mask", None, "lack the graph's input 'attention_mask'"),
        ("eval", "label.pairs", None, "eval.npz: lacks 'label.pairs', which spearman needs"),
        ("eval", "label.pairs", lambda x: x + 10**6, "eval.npz: cannot be scored: IndexError"),
        ("eval", "label.pairs", lambda x: x[:, :1], "eval.npz: cannot be scored: ValueError"),
        ("eval", "label.scores", lambda x: x[1:], "eval.npz: cannot be scored: ValueError"),
        ("eval", "reference.sentence_embedding", None, "lacks 'reference.sentence_embedding', which teacher_cosine"),
    ],
)  # fmt: skip
def test_wrong_arrays(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, file: str, key: str,
    change: Callable[[Any], Any] | None, said: str,
) -> None:  # fmt: skip
    change_array(tiny / f"{file}.npz", key, change)
    monkeypatch.setattr("edgeattn.worker._Child.__init__", None)  # not reached
    assert run(["verify", str(tiny)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("change", [lambda x: x[:, 1:], lambda x: x * np.nan, lambda x: x.astype(int)])
def test_wrong_golden_outputs(tiny: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Any], Any]) -> None:
    change_array(tiny / "samples.npz", "student.sentence_embedding", change)
    assert run(["verify", str(tiny)]) == 2
    assert "the golden outputs of the student are " in capsys.readouterr().err


def change_array(path: Path, key: str, change: Callable[[Any], Any] | None) -> None:
    arrays = dict(np.load(path))
    arrays |= {key: change(arrays[key])} if change else {}
    if change is None:
        del arrays[key]
    np.savez(path, **arrays)
    resign(path.parent)


# --- engine.json -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"graph_sha256": "sha256:" + "1" * 64}, "graph_sha256: sha256:1111"),
        ({"graph": "dense.onnx"}, "graph: dense.onnx; bundle.json says model.onnx"),
        ({"method": "int8-dynamic"}, "method: int8-dynamic; bundle.json says fp32"),
        ({"disabled_optimizers": ["EvilFusion"]}, "disabled_optimizers.0: Input should be 'SkipLayerNormFusion'"),
        ({"threads": 4096}, "threads: Extra inputs are not permitted"),
        ({"buckets": [{"length": 8, "graph": "other.onnx"}]}, "other.onnx is not listed in bundle.json"),
        ({"schema": 2}, "has schema version 2; this edgeattn reads version 1"),
        ({"custom_operators": "evil.so"}, "custom_operators: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_engine(tiny: Path, refused: Callable[[str], None], change: dict[str, Any], said: str) -> None:
    edit(tiny / "engine/efficient/engine.json", lambda engine: engine.update(change))
    refused(said)


# --- bundle.json -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("bench", {"pairs": 0}, "bench.pairs: Input should be greater than or equal to 1"),
        ("bench", {"batch_size": 0}, "bench.batch_size: Input should be greater than or equal to 1"),
        ("bench", {"lengths": [16, 16]}, "bench.lengths: names 16 twice"),
        ("bench", {"lengths": []}, "bench.lengths: "),
        ("task", {"accept_of_teacher": -1.0}, "task.accept_of_teacher: Input should be greater than 0"),
        ("task", {"accept_of_teacher": 0.0}, "task.accept_of_teacher: Input should be greater than 0"),
        ("task", {"accept_of_teacher": 1.5}, "task.accept_of_teacher: Input should be less than or equal to 1"),
        ("task", {"accept_metric": "bleu"}, "task: accept_metric 'bleu' is not among its metrics"),
        ("task", {"kind": "chess"}, "task: unknown kind 'chess'; use one of: text-embedding, "),
        ("task", {"metrics": ["accuracy"]}, "task: 'accuracy' is not a metric of text-embedding"),
        ("task", {"metrics": [{"name": "spearman"}]}, "task.metrics.0: Input should be a valid string"),
        ("task", {"metrics": []}, "task.metrics: "),
        (None, {"engines": {}}, "it has neither an engine nor a candidate for one"),
        (None, {"name": "../x"}, "name: String should match pattern"),
        (None, {"created_utc": "yesterday"}, "created_utc: String should match pattern"),
        (None, {"inputs": []}, "inputs: "),
        (None, {"axes": {}}, "'input_ids' has the axis 'sequence', which is not among the axes"),
        (None, {"length_axis": "width"}, "length_axis: no input has the axis 'width'"),
        (None, {"length_axis": None}, "bench.lengths: there is no length_axis that they are along"),
        ("axes", {"sequence": {"unit": "tokens", "mask": "m"}}, "the mask of 'sequence' is 'm', which is not an input"),
        ("axes", {"sequence": {"unit": "\x1b[2J"}}, "axes.sequence.unit: String should match pattern"),
        ("axes", {"sequence": {"unit": "tokens", "longest": 8}}, "bench.lengths: 16 is more than the 8 of the axis"),
        ("axes", {"width": {"unit": "pixels"}}, "axes: no input or output has the axis 'width'"),
        (None, {"plan": [{"layer": "x", "variant": "hedgehog", "options": {}}]}, "plan.0.layer: Input should be"),
    ],
)  # fmt: skip
def test_a_wrong_manifest(
    tiny: Path, refused: Callable[[str], None], part: str | None, change: dict[str, Any], said: str
) -> None:
    edit(tiny / "bundle.json", lambda document: (document[part] if part else document).update(change))
    refused(said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dtype": "complex64"}, "inputs.0.dtype: Input should be 'bool', "),
        ({"dtype": "int32"}, "input 'input_ids' is int64; bundle.json says int32"),
        ({"dims": ["batch", "batch"]}, "inputs.0.dims: ['batch', 'batch'] has one name for two dimensions"),
        ({"dims": ["rows", "sequence"]}, "the first dimensions of inputs and outputs differ"),
        ({"dims": ["batch", "width"]}, "'input_ids' has the axis 'width', which is not among the axes"),
        ({"dims": ["batch", 0]}, "inputs.0.dims.1."),
        ({"dims": ["batch"]}, "has the shape ['batch', 'sequence']; bundle.json says ['batch']"),
        ({"name": "attention_mask"}, "two inputs or outputs have the same name"),
    ],
)
def test_wrong_inputs(tiny: Path, refused: Callable[[str], None], change: dict[str, Any], said: str) -> None:
    edit(tiny / "bundle.json", lambda document: document["inputs"][0].update(change))
    refused(said)


def test_a_bundle_from_before_there_were_axes(tiny: Path, refused: Callable[[str], None]) -> None:
    edit(tiny / "bundle.json", lambda document: document.pop("axes"))
    refused("axes: missing; an edgeattn that did not know axes yet compiled this bundle")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"pairs": 3', '"pairs": 3, "pairs": 4', "the key 'pairs' is given twice"),
        ('"pairs": 3', '"pairs": NaN', "NaN is not JSON"),
        ('"pairs": 3', '"pairs": 1e999', "1e999 is too large for a number"),
        ('"runtime": "onnxruntime"', '"runtime": "onnxruntimes"', "needs the unknown runtime 'onnxruntimes'"),
    ],
)
def test_wrong_json(tiny: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str) -> None:
    text = (tiny / "bundle.json").read_text()
    assert old in text
    (tiny / "bundle.json").write_text(text.replace(old, new))
    assert run(["verify", str(tiny)]) == 2
    assert said in capsys.readouterr().err
