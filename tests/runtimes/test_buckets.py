"""Graphs with fixed lengths beside the one for any length: they give the same outputs, and the right one runs."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import tiny_bundle

from edgeattn.errors import BundleError
from edgeattn.export.buckets import fix_length
from edgeattn.runtimes.buckets import BucketedSession
from edgeattn.runtimes.onnxruntime import RUNTIME


@pytest.fixture
def root(tmp_path):
    """A folder with a graph, two of its buckets, and their engine."""
    onnx.save(tiny_bundle.graph(), tmp_path / "model.onnx")
    RUNTIME.build(tmp_path / "model.onnx", tmp_path / "engine", method="fp32")
    for length in (4, 8):
        fix_length(tmp_path / "model.onnx", tmp_path / f"model-{length}.onnx", "sequence", length)
    RUNTIME.add_buckets(tmp_path / "engine", {8: "model-8.onnx", 4: "model-4.onnx"})
    return tmp_path


@pytest.mark.parametrize("length", [1, 3, 4, 5, 8, 9, 12])
def test_answers_are_those_of_the_graph_for_any_length(root, length):
    feeds = {name: x[:, :length] for name, x in tiny_bundle.samples(3).items()}
    session = RUNTIME.load(root, root / "engine")
    expected = tiny_bundle.answers(tiny_bundle.graph(), feeds)
    np.testing.assert_allclose(session.run(feeds)["sentence_embedding"], expected, atol=1e-6)
    assert session.describe()["buckets"] == [4, 8]


def test_a_bucket_is_of_fixed_length_on_the_same_weights(root):
    whole = onnx.load(root / "model.onnx")
    onnx.save(whole, root / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=512)
    fix_length(root / "model.onnx", root / "model-4.onnx", "sequence", 4)
    fixed = onnx.load(root / "model-4.onnx", load_external_data=False)
    for tensor in fixed.graph.input:
        batch, sequence = tensor.type.tensor_type.shape.dim
        assert (batch.dim_param, sequence.dim_value) == ("batch", 4)
    assert (root / "model-4.onnx").stat().st_size < (root / "model.onnx.data").stat().st_size
    feeds = {name: x[:, :3] for name, x in tiny_bundle.samples(2).items()}
    expected = tiny_bundle.answers(tiny_bundle.graph(), feeds)
    np.testing.assert_allclose(
        RUNTIME.load(root, root / "engine").run(feeds)["sentence_embedding"], expected, atol=1e-6
    )


class Recorder:
    """A session that records the shapes it is given and returns a sequence, and a scalar per row."""

    def __init__(self):
        self.lengths = []

    def run(self, feeds):
        self.lengths.append(feeds["x"].shape[1])
        return {"y": feeds["x"] + 1, "z": feeds["x"].sum(1)}

    def describe(self):
        return {"runtime": "none"}


@pytest.mark.parametrize(("length", "bucket"), [(1, 4), (4, 4), (5, 8), (8, 8), (9, None)])
def test_the_next_length_runs_and_outputs_are_cut_back(length, bucket):
    sessions = {name: Recorder() for name in (None, 8, 4)}
    session = BucketedSession(sessions[None], {8: sessions[8], 4: sessions[4]}, {"x": 1, "y": 1})
    x = np.ones((2, length), np.float32)
    out = session.run({"x": x, "other": np.zeros(3)})
    np.testing.assert_array_equal(out["y"], x + 1)
    np.testing.assert_array_equal(out["z"], [length, length])  # the padding is zeros
    assert {name: s.lengths for name, s in sessions.items() if s.lengths} == {bucket: [bucket or length]}


def test_a_bucket_that_is_missing_is_named(root):
    (root / "model-8.onnx").unlink()
    with pytest.raises(BundleError, match=r"the engine's graph model-8.onnx is missing"):
        RUNTIME.load(root, root / "engine")


def test_a_bucket_outside_the_bundle_is_refused(root):
    path = root / "engine" / "engine.json"
    document = json.loads(path.read_text())
    document["buckets"][0]["graph"] = "../model-8.onnx"
    path.write_text(json.dumps(document))
    with pytest.raises(BundleError, match="is not the name of an ONNX file directly in the bundle"):
        RUNTIME.load(root, root / "engine")
