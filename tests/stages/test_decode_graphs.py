"""The graphs of one token in a bundle: which method they are in, why there are none, and that they are checked."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import tiny_bundle
import tiny_models
from onnx import TensorProto, helper, numpy_helper

from edgeattn import bundle as bundles
from edgeattn.bundle import Bundle
from edgeattn.errors import BundleError, VerificationError
from edgeattn.interface import Axis, Carried, Interface, TensorSpec
from edgeattn.manifest import DECODE_GRAPHS
from edgeattn.quantize import METHODS
from edgeattn.stages import decode

CARRIED = (Carried(name="state_0_0", next="next_0_0", dtype="float32", dims=("batch", "past")),)
INTERFACE = Interface(
    inputs=(TensorSpec(name="input_ids", dtype="int64", dims=("batch", "sequence")),),
    outputs=(TensorSpec(name="logits", dtype="float32", dims=("batch", "sequence", 2)),),
    axes={"sequence": Axis(unit="tokens")},
    length_axis="sequence",
)


def write_graph(path: Path, hidden: int | str = "past", *, weights_beside: bool = False) -> None:
    """logits = [token, position]; the state is the list of the tokens."""

    def tensor(name, kind, *dims):
        return helper.make_tensor_value_info(name, kind, dims)

    node = helper.make_node
    nodes = [
        node("Cast", ["input_ids"], ["token"], to=TensorProto.FLOAT),
        node("Cast", ["position_ids"], ["place"], to=TensorProto.FLOAT),
        node("Concat", ["state_0_0", "token"], ["next_0_0"], axis=1),
        node("Concat", ["token", "place"], ["row"], axis=1),
        node("Mul", ["row", "weight"], ["weighed"]),
        node("Unsqueeze", ["weighed", "one"], ["logits"]),
    ]
    ids, places = (tensor(name, TensorProto.INT64, "batch", 1) for name in ("input_ids", "position_ids"))
    state, after = (
        tensor("state_0_0", TensorProto.FLOAT, "batch", hidden),
        tensor("next_0_0", TensorProto.FLOAT, "batch", "more"),
    )
    weights = [
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        numpy_helper.from_array(np.ones(2, np.float32), "weight"),
    ]
    graph = helper.make_graph(
        nodes, "token", [ids, places, state], [tensor("logits", TensorProto.FLOAT, "batch", 1, 2), after],
        weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path, save_as_external_data=weights_beside, location=f"{path.name}.data", size_threshold=0)


def test_a_model_that_cannot_decode_is_left_out_with_the_reason(tmp_path, caplog):
    model, _ = tiny_models.make("bloom", layers=1, head="BloomForCausalLM")
    with caplog.at_level(logging.WARNING):
        found = decode.export_decode_graphs({"efficient": model}, tmp_path, opset=20, longest=None)
    assert found["left_out"].startswith("efficient: BloomForCausalLM takes no position_ids")
    assert "no graphs for decoding: efficient: BloomForCausalLM" in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job of the stage quantize, whose methods only copy."""
    exported, out = tmp_path / "exported", tmp_path / "out"
    for folder in (exported, out):
        folder.mkdir()
    for graph in DECODE_GRAPHS.values():
        write_graph(exported / graph, weights_beside=True)
    monkeypatch.setattr(METHODS["int8-dynamic"], "quantize", METHODS["fp32"].quantize)
    monkeypatch.setattr(decode, "methods_of", lambda recipe, device: ("int8-dynamic",))
    document = [CARRIED[0].model_dump(mode="json")]
    facts = {"decode": {"carried": dict.fromkeys(DECODE_GRAPHS, document)}}
    return SimpleNamespace(
        recipe=None, device=SimpleNamespace(cpu=None), out=out, path=lambda stage: exported, facts=lambda stage: facts
    )


def golden(right: bool) -> dict[str, np.ndarray]:
    ids = np.array([[3, 1, 2], [1, 5, 0]])
    logits = np.stack([ids, np.broadcast_to(np.arange(3), ids.shape)], -1).astype(np.float32)
    return {"input.input_ids": ids, "student.logits": logits if right else logits + 0.8, "teacher.logits": logits}


def test_graphs_are_in_int8_where_that_gives_the_logits_of_whole_texts(job, monkeypatch, caplog):
    found = decode.quantize_decode_graphs(job, INTERFACE, golden(right=True))
    graph = bundles.DecodeGraph.model_validate_json(found["graphs"]["efficient"])
    assert (graph.graph, graph.method, graph.least_cosine) == ("decode.onnx", "int8-dynamic", 0.9)
    assert graph.cosine == pytest.approx(1)
    assert graph.outputs[0].dims == ("batch", 1, 2)
    assert {file.name for file in job.out.iterdir()} == {
        name for graph in DECODE_GRAPHS.values() for name in (graph, f"{graph}.data")
    }

    def fails(graph, interface, golden, side, least_cosine, made):
        if made.method != "fp32":
            raise VerificationError("too far")
        return 1.0

    monkeypatch.setattr(decode, "checked", fails)
    with caplog.at_level(logging.WARNING):
        found = decode.quantize_decode_graphs(job, INTERFACE, golden(right=True))
    assert '"method":"fp32"' in found["graphs"]["dense"]
    assert "stay in fp32: efficient int8-dynamic, read token by token: too far" in caplog.text


def test_graphs_with_other_logits_are_left_out_even_where_int8_would_be_near_enough(job):
    """So is a graph that forgets a little."""
    found = decode.quantize_decode_graphs(job, INTERFACE, golden(right=False))
    assert found["left_out"].startswith("efficient fp32, read token by token: cosine 0.9777")
    assert "0.9999 is required" in found["left_out"]
    assert list(job.out.iterdir()) == []


def test_a_bundle_opens_only_with_the_decode_graph_that_it_describes(small_bundle, manifest):
    made = decode.decode_graph(INTERFACE, "efficient", "fp32", CARRIED, 0.9999)
    write_graph(small_bundle / made.graph)
    bundles.write(small_bundle, manifest.model_copy(update={"decode": {"efficient": made}}))
    assert Bundle.open(small_bundle).manifest.decode == {"efficient": made}
    write_graph(small_bundle / made.graph, hidden=3)
    tiny_bundle.sign(small_bundle)
    with pytest.raises(BundleError, match=r"input 'state_0_0' has the shape \['batch', 3\]"):
        Bundle.open(small_bundle)
    (small_bundle / made.graph).unlink()
    bundles.write(small_bundle, manifest.model_copy(update={"decode": {"efficient": made}}))
    with pytest.raises(BundleError, match=r"decode\.onnx is not listed"):
        Bundle.open(small_bundle)
