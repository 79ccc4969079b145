"""Graphs of one token: read with the runtime's decoder, they give what the torch model gives for whole texts."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import tiny_models
import torch

from edgeattn.convert import Choice, convert
from edgeattn.errors import ModelError
from edgeattn.export.decode import export_decode
from edgeattn.export.onnx import save
from edgeattn.runtimes import RUNTIMES
from edgeattn.runtimes.decoder import Decoder

WINDOWED = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 0}
# (model, its head, options, opset, the most tokens that it takes, plan)
CASES = {
    "all kinds of state": (
        "gpt2", "GPT2LMHeadModel", {}, 17, 32,
        (
            Choice(0, "window_linear", {"window": 4}), Choice(1, "gated_delta", {}),
            Choice(2, "sliding_window", {"window": 4, "global_tokens": 0}), Choice(3, "identity", {}),
        ),
    ),
    "a window of its own": ("qwen3", "Qwen3ForCausalLM", WINDOWED, 20, None, (Choice(0, "hedgehog", {}),)),
}  # fmt: skip


def exported(tmp_path, name, head, options, opset, longest, plan):
    model, feeds = tiny_models.make(name, layers=len(plan) + 1, head=head, **options)
    convert(model, plan, feeds)
    graph, carried = export_decode(model, opset=opset, longest=longest)
    save(graph, tmp_path / "decode.onnx")
    RUNTIMES["onnxruntime"].build(tmp_path / "decode.onnx", tmp_path / "engine", method="fp32")
    return model, Decoder(RUNTIMES["onnxruntime"].load(tmp_path, tmp_path / "engine", 1), carried), carried


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_graph_reads_texts_of_any_length_and_number(tmp_path, case):
    model, decoder, carried = exported(tmp_path, *case)
    operators = {node.op_type for node in onnx.load(tmp_path / "decode.onnx", load_external_data=False).graph.node}
    assert not operators & {"Loop", "Scan", "If"}
    in_place = {each.dims[2] for each in carried if each.in_place}  # a layer with a window drops rows instead
    assert in_place == ({"past"} if "GroupQueryAttention" in operators else set())
    for batch, length in ((1, 1), (3, 20)):
        ids = torch.randint(5, tiny_models.VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(length))
        with torch.no_grad():
            whole = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        found = decoder.run({"input_ids": ids.numpy(), "attention_mask": np.ones(ids.shape, np.int64)})
        np.testing.assert_allclose(found["logits"], whole, rtol=1e-4, atol=1e-4)
    sizes = {"batch": 3, "past": 20, "past_5": 4}
    after = {each.name: tuple(sizes.get(dim, dim) for dim in each.dims) for each in carried}
    assert {name: array.shape for name, array in decoder.carried().items()} == after


def test_a_model_that_cannot_be_told_a_position_is_refused():
    model, _ = tiny_models.make("bloom", layers=1, head="BloomForCausalLM")
    with pytest.raises(ModelError, match="BloomForCausalLM takes no position_ids"):
        export_decode(model, opset=20)
