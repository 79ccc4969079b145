"""Graphs of tiny models: what they compute, at which shapes, with which operators."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import tiny_models
import torch
import transformers

import edgeattn
from edgeattn.check.sound import check_graph
from edgeattn.convert import Choice, convert, variants
from edgeattn.errors import ToolError
from edgeattn.export.onnx import PREFERRED_OPSET, export, save
from edgeattn.export.rewrite import rewrite

PLAN = (Choice(0, "sliding_window", {"window": 4, "global_tokens": 1}), Choice(1, "hedgehog", {"feature_dim": 4}))
FUSED = "com.microsoft::MultiHeadAttention"


def outputs(path, feeds):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {name: x.numpy() for name, x in feeds.items()})[0]


def domains(path):
    return {node.domain for node in onnx.load(path, load_external_data=False).graph.node}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """(folder with plain.onnx, folded.onnx and shipped/, the exported torch model, what rewrite said)"""
    folder = tmp_path_factory.mktemp("text")
    task = tiny_models.text_task(folder)
    model, feeds = tiny_models.make("bert")
    convert(model, PLAN, feeds)
    with torch.no_grad():
        for weight in variants(model)[1].parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    whole = task.exportable(model).eval()
    graph, manifest = export(whole, feeds, task.dynamic_dims(), opset=PREFERRED_OPSET, limits={"sequence": (1, 32)})
    save(graph, folder / "plain.onnx")
    fired = rewrite(graph)
    save(graph, folder / "folded.onnx")
    shipped = folder / "shipped"
    shipped.mkdir()
    save(graph, shipped / "model.onnx")
    (shipped / "export.json").write_text(json.dumps(manifest))
    model.config.save_pretrained(shipped)
    return folder, whole, fired


@pytest.mark.parametrize("name", ["plain.onnx", "folded.onnx"])
@pytest.mark.parametrize("lengths", [(24, 9, 1), (7,), (1,), (32, 32, 30, 2, 1)])
def test_the_graph_is_the_model_at_other_batch_sizes_and_lengths(text, name, lengths):
    folder, model, _ = text
    feeds = tiny_models.feeds("bert", lengths)
    with torch.no_grad():
        expected = model(**feeds)["sentence_embedding"].numpy()
    np.testing.assert_allclose(outputs(folder / name, feeds), expected, atol=1e-4)


def head_products(path):
    """MatMul nodes with constant per-head weights [H, D, F]."""
    graph = onnx.load(path, load_external_data=False).graph
    ranks = {weight.name: len(weight.dims) for weight in graph.initializer}
    return sum(node.op_type == "MatMul" and ranks.get(node.input[1]) == 3 for node in graph.node)


def test_head_maps_are_folded_into_the_projections(text):
    folder, _, fired = text
    assert fired == {"fold_head_maps": 2, "compare_truths": 0}
    assert (head_products(folder / "plain.onnx"), head_products(folder / "folded.onnx")) == (2, 0)
    feeds = tiny_models.feeds("bert")
    np.testing.assert_allclose(outputs(folder / "folded.onnx", feeds), outputs(folder / "plain.onnx", feeds), atol=1e-5)
    widths = [tuple(w.dims) for w in onnx.load(folder / "folded.onnx", load_external_data=False).graph.initializer]
    assert widths.count((16, 8)) == 2  # both projections are narrower now: 2 heads of 4 features
    assert rewrite(ir.load(folder / "folded.onnx")) == {"fold_head_maps": 0, "compare_truths": 0}


def test_the_efficient_graph_has_standard_operators_only(text):
    folder = text[0]
    facts = check_graph(folder / "folded.onnx")
    assert facts["opset"] == PREFERRED_OPSET
    assert facts["nodes"] == sum(facts["operators"].values())
    assert not [name for name in facts["operators"] if "::" in name]
    assert domains(folder / "folded.onnx") == {""}
    assert {"LayerNormalization", "Gelu"} <= facts["operators"].keys()  # whole, not spelled out


def test_weights_lie_beside_the_graph(text):
    folder = text[0]
    assert (folder / "folded.onnx.data").is_file()
    # One copied elsewhere with its data runs too: no absolute path is in it.
    moved = folder / "moved"
    moved.mkdir()
    for name in ("folded.onnx", "folded.onnx.data"):
        (moved / name).write_bytes((folder / name).read_bytes())
    assert outputs(moved / "folded.onnx", tiny_models.feeds("bert")).shape == (3, 16)


def test_a_graph_does_not_say_where_it_was_made(text):
    written = (text[0] / "folded.onnx").read_bytes()
    for trace in ("site-packages", "stack_trace", str(Path(edgeattn.__file__).parent)):
        assert trace.encode() not in written


def test_transformers_opens_what_was_exported(text):
    from transformers.exporters import ExportedModel

    folder, model, _ = text
    feeds = tiny_models.feeds("bert", (5, 3))
    found = ExportedModel.from_pretrained(folder / "shipped")(**feeds)["sentence_embedding"]
    with torch.no_grad():
        torch.testing.assert_close(torch.as_tensor(found), model(**feeds)["sentence_embedding"], rtol=0, atol=1e-4)


def test_the_fused_dense_graph_holds_the_runtimes_attention(tmp_path):
    task = tiny_models.text_task(tmp_path)
    model, feeds = tiny_models.make("bert", layers=2)
    convert(model, (), feeds)
    whole = task.exportable(model).eval()
    graph, _ = export(
        whole,
        feeds,
        task.dynamic_dims(),
        opset=PREFERRED_OPSET,
        limits={"sequence": (1, 32)},
        operators=frozenset({FUSED}),
    )
    rewrite(graph)
    save(graph, tmp_path / "fused.onnx")
    operators = check_graph(tmp_path / "fused.onnx")["operators"]
    assert operators[FUSED] == 2
    assert "Softmax" not in operators
    for lengths in ((24, 9, 1), (7,)):
        feeds = tiny_models.feeds("bert", lengths)
        with torch.no_grad():
            expected = whole(**feeds)["sentence_embedding"].numpy()
        np.testing.assert_allclose(outputs(tmp_path / "fused.onnx", feeds), expected, atol=1e-4)


def test_a_model_that_cannot_be_exported_is_said():
    class Branching(type(tiny_models.make("bert", layers=1)[0])):
        def forward(self, input_ids, attention_mask):
            if input_ids.sum() > 3:  # a value that no graph can branch on
                return super().forward(input_ids, attention_mask)
            raise AssertionError

    model = Branching(tiny_models.config("bert", 1))
    dims = {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")}
    with pytest.raises(ToolError, match=r"^export: Branching could not be exported at opset 20: .+\n  fix: "):
        export(model, tiny_models.feeds("bert"), dims, opset=20, limits={"sequence": (1, 32)})


def test_a_mask_that_is_pooled_keeps_its_length_dynamic(tmp_path):
    """SEW pools its padding mask with max_pool1d, whose fast path would build the example's length in."""
    config = transformers.SEWConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, squeeze_factor=2,
        conv_dim=(8, 8), conv_kernel=(4, 4), conv_stride=(4, 4), num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model, own = transformers.SEWModel(config).eval(), torch.nn.functional.max_pool1d
    feeds = {"input_values": torch.rand(2, 400), "attention_mask": torch.ones(2, 400, dtype=torch.long)}
    convert(model, (), feeds)
    dims = {name: {0: "batch", 1: "sequence"} for name in feeds}
    graph, _ = export(model, feeds, dims, opset=PREFERRED_OPSET, limits={"sequence": (64, None)})
    assert torch.nn.functional.max_pool1d is own
    save(graph, tmp_path / "model.onnx")
    for length in (417, 500):  # even and odd numbers of frames
        mask = (torch.arange(length) < torch.tensor([[length], [300], [210]])).long()
        other = {"input_values": torch.rand(3, length) * mask, "attention_mask": mask}
        with torch.no_grad():
            expected = model(**other).last_hidden_state
        np.testing.assert_allclose(outputs(tmp_path / "model.onnx", other), expected.numpy(), atol=1e-5)


def exported_around_bert(whole, path):
    """(the model whole(bert), its inputs), with its graph saved to `path`."""
    encoder, feeds = tiny_models.make("bert", 1)
    convert(encoder, (), feeds)
    model, dims = whole(encoder).eval(), {name: {0: "batch", 1: "sequence"} for name in feeds}
    graph, _ = export(model, feeds, dims, opset=PREFERRED_OPSET, limits={"sequence": (1, 32)})
    save(graph, path)
    return model, feeds


class _GivesItsMaskBack(transformers.PreTrainedModel):
    """As Qwen2-Audio does, whose outputs have an attention_mask too."""

    def __init__(self, encoder):
        super().__init__(encoder.config)
        self.encoder = encoder

    def forward(self, input_ids, attention_mask):
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return {"last_hidden_state": hidden, "attention_mask": attention_mask.flip(1)}


def test_inputs_keep_their_names_beside_outputs_of_the_same_name(tmp_path):
    _, feeds = exported_around_bert(_GivesItsMaskBack, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert {node.name: node.shape for node in session.get_inputs()} == {name: ["batch", "sequence"] for name in feeds}
    found = session.run(None, {name: x[:, :9].numpy() for name, x in feeds.items()})
    names = [node.name for node in session.get_outputs()]
    assert names == ["last_hidden_state", "output.attention_mask"]
    np.testing.assert_array_equal(found[1], feeds["attention_mask"][:, :9].flip(1).numpy())


class _ScaledDown(transformers.PreTrainedModel):
    """A norm whose epsilon counts, since what it normalizes is small (Muse Spark's experts)."""

    def __init__(self, encoder):
        super().__init__(encoder.config)
        self.encoder = encoder

    def forward(self, input_ids, attention_mask):
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state * 1e-4
        return {"normed": hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + 1e-8)}


def test_a_small_epsilon_stays_in_the_graph(tmp_path):
    model, feeds = exported_around_bert(_ScaledDown, tmp_path / "model.onnx")
    with torch.no_grad():
        expected = model(**feeds)["normed"]
        assert expected.pow(2).mean() < 0.9  # else the epsilon would not show
    np.testing.assert_allclose(outputs(tmp_path / "model.onnx", feeds), expected.numpy(), atol=1e-5)
