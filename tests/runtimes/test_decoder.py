"""Reading token by token, with a graph that carries the sum and the list of the tokens before."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeattn.errors import DeviceError
from edgeattn.interface import Carried
from edgeattn.runtimes import RUNTIMES
from edgeattn.runtimes.decoder import Decoder

CARRIED = (
    Carried(name="sum", next="next_sum", dtype="float32", dims=("batch", 1)),
    Carried(name="seen", next="next_seen", dtype="float32", dims=("batch", "past")),
)


@pytest.fixture
def decoder(tmp_path):
    """logits = [the sum of the tokens until now, the first token, the position]."""

    def tensor(name, kind, *dims):
        return helper.make_tensor_value_info(name, kind, dims)

    node = helper.make_node
    zero = helper.make_tensor("zero", TensorProto.INT64, [1], [0])
    nodes = [
        node("Cast", ["input_ids"], ["token"], to=TensorProto.FLOAT),
        node("Cast", ["position_ids"], ["place"], to=TensorProto.FLOAT),
        node("Add", ["token", "sum"], ["next_sum"]),
        node("Concat", ["seen", "token"], ["next_seen"], axis=1),
        node("Gather", ["next_seen", "zero"], ["first"], axis=1),
        node("Concat", ["next_sum", "first", "place"], ["row"], axis=1),
        node("Unsqueeze", ["row", "one"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes, "counting",
        [
            tensor("input_ids", TensorProto.INT64, "batch", 1), tensor("position_ids", TensorProto.INT64, "batch", 1),
            tensor("sum", TensorProto.FLOAT, "batch", 1), tensor("seen", TensorProto.FLOAT, "batch", "past"),
        ],
        [
            tensor("logits", TensorProto.FLOAT, "batch", 1, 3), tensor("next_sum", TensorProto.FLOAT, "batch", 1),
            tensor("next_seen", TensorProto.FLOAT, "batch", "more"),
        ],
        [zero, helper.make_tensor("one", TensorProto.INT64, [1], [1])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "decode.onnx")
    RUNTIMES["onnxruntime"].build(tmp_path / "decode.onnx", tmp_path / "engine", method="fp32")
    return Decoder(RUNTIMES["onnxruntime"].load(tmp_path, tmp_path / "engine", 1), CARRIED)


def text(*ids):
    return {"input_ids": np.array([ids]), "attention_mask": np.ones((1, len(ids)), np.int64)}


def later(start, *ids):
    return {"input_ids": np.array([ids]), "position_ids": np.arange(start, start + len(ids))[None]}


def test_a_text_is_read_from_its_first_token_each_time(decoder):
    for _ in range(2):
        assert decoder.run(text(4, 2, 1))["logits"].tolist() == [[[4, 4, 0], [6, 4, 1], [7, 4, 2]]]
    assert {name: array.tolist() for name, array in decoder.carried().items()} == {"sum": [[7]], "seen": [[4, 2, 1]]}


def test_texts_go_on_from_the_contexts_that_were_given(decoder):
    decoder.run(text(4, 2, 1))
    context = decoder.carried()
    other = {"sum": np.array([[9.0]], np.float32), "seen": np.array([[9.0]], np.float32)}
    assert decoder.run({**later(3, 5, 1), **context})["logits"].tolist() == [[[12, 4, 3], [13, 4, 4]]]
    assert decoder.run({**later(1, 1), **other})["logits"].tolist() == [[[10, 9, 1]]]
    assert decoder.run(later(3, 6))["logits"].tolist() == [[[13, 4, 3]]]  # again after three tokens
    assert decoder.run(later(1, 2))["logits"].tolist() == [[[11, 9, 1]]]


def test_a_caller_may_reuse_its_arrays(decoder):
    feeds = {**later(1, 1), "sum": np.array([[9.0]], np.float32), "seen": np.array([[9.0]], np.float32)}
    before = decoder.run(feeds)["logits"].copy()
    feeds["sum"][:] = 0
    assert np.array_equal(decoder.run(later(1, 1))["logits"], before)


def test_a_runtime_that_keeps_no_outputs_cannot_decode():
    class Plain:
        def run(self, feeds):
            return feeds

        def describe(self):
            return {}

    with pytest.raises(DeviceError, match="Plain cannot carry tensors"):
        Decoder(Plain(), CARRIED)
