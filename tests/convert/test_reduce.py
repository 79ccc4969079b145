"""Token merging inside real architectures with random weights: what it keeps, what it goes with, what it refuses."""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_models
import torch
from torch import nn
from transformers import AutoModel

from edgeattn.attention import ATTENTION
from edgeattn.convert import Choice, attend, convert, find_layers, make_plan, plan_of, transfer_losses, variants
from edgeattn.errors import ModelError, RecipeError
from edgeattn.export.onnx import PREFERRED_OPSET, export, save
from edgeattn.export.rewrite import rewrite
from edgeattn.models.student import load_student, save_student
from edgeattn.recipe.schema import AttentionRule, ReduceRule

R = 4
TEXT = ("bert", "roberta", "distilbert", "modernbert")
ENCODERS = (*TEXT, "vit", "deit", "dinov2", "clip_vision", "whisper_encoder", "wav2vec2", "ast")
MIXERS = [name for name in ATTENTION if ATTENTION[name].bidirectional and name not in ("dense", "window_2d")]


def merging(*layers, **options):
    return tuple(Choice(layer, "token_merging", {"r": R, **options}) for layer in layers)


def states(model, feeds):
    """Every hidden state: [layers + 1, B, N, C]."""
    with torch.no_grad():
        return torch.stack(model(**feeds, output_hidden_states=True).hidden_states)


def distinct(hidden):
    """How many different rows [N, C] has."""
    return len({tuple(row) for row in (hidden * 1e4).round().tolist()})


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_layer_hands_on_all_tokens_and_runs_on_fewer(name):
    model, feeds = tiny_models.make(name, layers=4)
    before = states(model, feeds)
    convert(model, merging(0, 1, 2, 3), feeds)
    seen = [layer.length for layer in find_layers(model, feeds)]
    n = seen[0]
    assert seen == [n, *(max(n - R * done, R + 1) for done in (1, 2, 3))]
    after = states(model, feeds)
    assert after.shape == before.shape
    close(after[0], before[0])
    assert (after[1:] - before[1:]).abs().max() > 1e-2
    # The last layer runs on as many tokens as it hands on: it merges none itself.
    assert [distinct(layer[0]) for layer in after[1:-1]] == [n - R, max(n - 2 * R, R + 1), max(n - 3 * R, R + 1)]


@pytest.mark.parametrize("name", [*TEXT, "wav2vec2"])
def test_padding_does_not_change_what_is_merged(name):
    model, _ = tiny_models.make(name)
    lengths = (24, 17, 9, 5, 1)
    feeds = tiny_models.feeds(name, lengths)
    convert(model, merging(0, 1), feeds)
    together = states(model, feeds)
    scale = 16 if name == "wav2vec2" else 1
    for row, length in enumerate(lengths):
        alone = states(model, {key: x[row : row + 1, : length * scale] for key, x in feeds.items()})
        close(together[:, row, : alone.shape[2]], alone[:, 0], 1e-4)


def test_padding_on_the_left_does_not_change_what_is_merged():
    model, _ = tiny_models.make("modernbert")  # its positions are relative
    feeds = tiny_models.feeds("modernbert", (24, 13))
    left = {key: torch.stack([x[0], x[1].roll(11)]) for key, x in feeds.items()}
    convert(model, merging(0, 1), feeds)
    close(states(model, left)[:, 1, 11:], states(model, feeds)[:, 1, :13], 1e-3)


def twins(**options):
    """A model without positions, before and after merging each token with its twin: hidden states of both."""
    model, _ = tiny_models.make("bert")
    model.embeddings.position_embeddings.weight.data.zero_()
    ids = torch.arange(5, 17).repeat_interleave(2)[None]
    feeds = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    before = states(model, feeds)
    convert(model, merging(0, 1, protect=0, **options), feeds)
    return before, states(model, feeds)


def test_merging_twins_changes_nothing():
    before, after = twins()
    close(after, before, 1e-4)


def test_without_proportional_attention_merged_twins_count_once():
    before, after = twins(proportional=False)
    close(after[:2], before[:2], 1e-4)
    assert (after[2:] - before[2:]).abs().max() > 1e-2


def test_local_attention_keeps_to_distances_in_the_text(monkeypatch):
    seen = []

    def dense(q, k, v, mask, scaling, *, window, bias, **options):
        seen.append((q.shape[2], window, bias))
        return v

    model, _ = tiny_models.make("modernbert", layers=6)
    feeds = tiny_models.feeds("modernbert", (24,))
    convert(model, merging(1, proportional=False), feeds)
    monkeypatch.setattr(attend, "dense_attention", dense)
    states(model, feeds)
    before, after = seen[1], seen[2]
    width = before[1]
    assert (before[0], before[2]) == (24, None)
    assert (after[0], after[1]) == (20, None)
    near = after[2][0, 0] > -1
    assert (near.diagonal()).all()
    assert torch.equal(near, near.T)
    by_index = (torch.arange(20)[:, None] - torch.arange(20)).abs() < width
    assert (near & ~by_index).sum() == 0
    assert (by_index & ~near).sum() > 0  # what is `width` apart in the text is nearer once some between are gone


# --- with other variants ------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", MIXERS)
def test_it_goes_with_every_variant(variant):
    model, feeds = tiny_models.make("bert")
    convert(model, (*(Choice(layer, variant, {}) for layer in range(3)), *merging(0, 1)), feeds)
    assert [layer.length for layer in find_layers(model, feeds)] == [24, 20, 16]
    assert [type(made).name for made in variants(model)] == [variant] * 3
    together = states(model, feeds)
    alone = states(model, {key: x[1:2, :9] for key, x in feeds.items()})
    close(together[:, 1, :9], alone[:, 0], 1e-4)
    tiny_models.real(model(**feeds).last_hidden_state, feeds).square().sum().backward()
    for made in variants(model):
        for name, weight in made.named_parameters():
            assert weight.grad is not None, name
            assert torch.isfinite(weight.grad).all(), name


def test_a_variant_that_weighs_keys_is_told_their_sizes(monkeypatch):
    given = []

    class Weighing(ATTENTION["elu_linear"]):
        weighs_keys = True

        def forward(self, q, k, v, key_mask=None, key_weight=None):
            given.append((k.shape[2], key_mask, key_weight))
            return super().forward(q, k, v, key_mask)

    model, feeds = tiny_models.make("bert")
    convert(model, (*(Choice(layer, "elu_linear", {}) for layer in range(3)), *merging(0, 1)), feeds)
    for made in variants(model):
        made.__class__ = Weighing
    states(model, feeds)
    (_, _, first), (n, mask, weight), _ = given
    assert first is None  # nothing has been merged yet
    assert (n, tuple(weight.shape)) == (20, (3, 20))
    assert (weight * mask).sum(1).tolist() == feeds["attention_mask"].sum(1).tolist()


def test_attention_transfer_learns_on_merged_tokens():
    model, feeds = tiny_models.make("bert")
    convert(model, (*(Choice(layer, "hedgehog", {}) for layer in range(3)), *merging(0, 1)), feeds)
    with transfer_losses() as losses:
        model(**feeds)
    assert len(losses) == 3
    sum(losses).backward()
    assert all(weight.grad.abs().sum() > 0 for made in variants(model) for weight in made.transfer_parameters())


def test_every_parameter_learns():
    model, feeds = tiny_models.make("bert")
    convert(model, merging(0, 1), feeds)
    tiny_models.real(model(**feeds).last_hidden_state, feeds).square().sum().backward()
    silent = [name for name, weight in model.encoder.named_parameters() if weight.grad is None]
    assert silent == []
    assert all(torch.isfinite(weight.grad).all() for weight in model.encoder.parameters())


# --- one pass and the next ----------------------------------------------------------------------------------


def test_passes_do_not_see_each_other():
    model, feeds = tiny_models.make("bert")
    convert(model, merging(0, 1), feeds)
    shorter = {key: x[:, :15] for key, x in feeds.items()}
    expected, short = states(model, feeds), states(model, shorter)
    assert torch.equal(states(model, feeds), expected)

    broken = model.encoder.layer[1].output.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(**feeds)
    broken.remove()
    plain, _ = tiny_models.make("bert")
    untouched = states(plain, feeds)
    convert(plain, (), feeds)
    close(states(plain, feeds), untouched)  # another model, while the broken pass has not been cleared away
    assert torch.equal(states(model, shorter), short)
    assert torch.equal(states(model, feeds), expected)


def test_a_layer_that_is_left_out_of_a_pass_does_no_harm():
    """As wav2vec2 does in training (layerdrop)."""
    model, feeds = tiny_models.make("bert")
    convert(model, merging(0, 1), feeds)
    layers = model.encoder.layer
    expected = states(model, feeds)
    model.encoder.layer = layers[:-1]  # the pass does not reach the last
    shorter = model(**feeds).last_hidden_state
    close(shorter, expected[-2])
    model.encoder.layer = layers
    assert torch.equal(states(model, feeds), expected)


def test_a_copy_is_a_model_of_its_own():
    model, feeds = tiny_models.make("bert")
    convert(model, merging(0, 1), feeds)
    expected = states(model, feeds)
    copied = copy.deepcopy(model)
    for weight in model.parameters():
        weight.data.zero_()
    assert torch.equal(states(copied, feeds), expected)


def test_a_saved_student_merges_again(tmp_path):
    model, feeds = tiny_models.make("bert")
    plan = (Choice(0, "hedgehog", {"feature_dim": 4}), *merging(0, 1, protect=2))
    convert(model, plan, feeds)
    save_student(model, plan, tmp_path)
    again = load_student(tmp_path, AutoModel, feeds)
    assert plan_of(again.config) == plan
    assert torch.equal(states(again, feeds), states(model, feeds))


# --- graphs -------------------------------------------------------------------------------------------------


def test_one_graph_serves_every_length(tmp_path):
    task = tiny_models.text_task(tmp_path)
    model, feeds = tiny_models.make("bert")
    plan = (Choice(1, "sliding_window", {"window": 4, "global_tokens": 1}), Choice(2, "hedgehog", {"feature_dim": 4}))
    convert(model, (*plan, *merging(0)), feeds)
    whole = task.exportable(model).eval()
    graph, _ = export(whole, feeds, task.dynamic_dims(), opset=17, limits={"sequence": (1, 32)})
    rewrite(graph)
    save(graph, tmp_path / "model.onnx")
    nodes = onnx.load(tmp_path / "model.onnx", load_external_data=False).graph.node
    assert {node.domain for node in nodes} == {""}
    assert not {node.op_type for node in nodes} & {"Loop", "Scan", "If", "NonZero"}
    # Two to bring attended tokens to the front, two a merge, one to give the last states to all tokens.
    assert sum(node.op_type == "GatherND" for node in nodes) == 5
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for lengths in ((24, 9, 1), (32, 32, 5), (6,), (1,)):
        feeds = tiny_models.feeds("bert", lengths)
        (found,) = session.run(None, {key: x.numpy() for key, x in feeds.items()})
        with torch.no_grad():
            expected = whole(**feeds)[next(iter(task.outputs))].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["vit", "modernbert"])
def test_other_architectures_export_too(name, tmp_path):
    text = name == "modernbert"
    task = tiny_models.text_task(tmp_path) if text else tiny_models.image_task(tmp_path)
    model, feeds = tiny_models.make(name, layers=2)
    convert(model, merging(0), feeds)
    whole = task.exportable(model).eval()
    graph, _ = export(whole, feeds, task.dynamic_dims(), opset=PREFERRED_OPSET, limits={"sequence": (1, 32)})
    save(graph, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for lengths in ((24, 9, 1), (13,)):
        feeds = tiny_models.feeds(name, lengths)
        (found, *_) = session.run(None, {key: x.numpy() for key, x in feeds.items()})
        with torch.no_grad():
            expected = whole(**feeds)[next(iter(task.outputs))].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layer", "message"),
    [
        ("llama", 1, r"^layer 1 \(layers.1.self_attn\): token_merging cannot serve a layer that is causal"),
        ("gpt2", 0, r"^layer 0 \(h.0.attn\): token_merging cannot serve a layer that is causal"),
        ("t5", 0, r"^layer 0 \(encoder.block.0.layer.0.SelfAttention\): token_merging .* a bias of relative"),
        ("albert", 0, r"^layer 0 \(.*\): token_merging cannot serve a layer that runs 3 times"),
        (
            "patchtst",
            0,
            r"^PatchTSTEncoderLayer returns \[3, 3, 11, 16\], where merging tokens needs \[9, 11, \.\.\.\]",
        ),
    ],
)
def test_layers_that_cannot_run_on_merged_tokens_are_refused(name, layer, message):
    model, feeds = tiny_models.make(name)
    with pytest.raises(ModelError, match=message) as caught:
        convert(model, merging(layer), feeds)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("variant", "options"), [("window_2d", {"window": 2}), ("relu_linear", {"conv": "2d", "grid_width": 4})]
)
def test_a_grid_of_patches_is_refused_once_some_are_merged(variant, options):
    model, feeds = tiny_models.make("vit")
    grid = Choice(1, variant, {**options, "prefix_tokens": 1})
    with pytest.raises(ModelError, match=rf"^layer 1 \(.*\): token_merging .* has {variant} on a grid of patches"):
        convert(model, (grid, *merging(0)), feeds)
    model, feeds = tiny_models.make("vit")
    convert(model, (grid, *merging(1)), feeds)  # before the first merge the grid is there


def test_a_layer_that_does_not_exist_is_refused():
    model, feeds = tiny_models.make("bert")
    with pytest.raises(ModelError, match=r"^layer 3 does not exist: the model has 3 attention layers, 0 to 2$"):
        convert(model, merging(3), feeds)


def test_attention_that_goes_elsewhere_is_refused():
    model, feeds = tiny_models.make("bert")
    convert(model, merging(0), feeds)
    model.set_attn_implementation("sdpa")
    with pytest.raises(ModelError, match="the attention of BertLayer did not go through edgeattn, so no tokens can"):
        model(**feeds)


def test_gradient_checkpointing_is_refused():
    model, feeds = tiny_models.make("bert")
    convert(model, merging(0), feeds)
    model.activation_checkpointing_enable()
    states(model, feeds)  # without training it does nothing
    with pytest.raises(ModelError, match="BertLayer merges tokens, which gradient checkpointing would not see"):
        model.train()(**feeds)


# --- plain PyTorch ------------------------------------------------------------------------------------------


def encoder(batch_first=True):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 24, dropout=0.0, batch_first=batch_first)
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval()


def test_a_plain_transformer_merges_tokens():
    model, x = encoder(), torch.randn(2, 12, 16, generator=torch.Generator().manual_seed(0))
    padding = torch.arange(12) >= torch.tensor([[12], [8]])
    inputs = {"src": x, "src_key_padding_mask": padding}
    convert(model, merging(0, 1), inputs)
    assert [layer.length for layer in find_layers(model, inputs)] == [12, 8, 5]
    with torch.no_grad():
        together = model(**inputs)
        close(together[1:, :8], model(src=x[1:, :8]), 1e-4)
    assert distinct(together[0]) == 5


def test_tokens_first_and_batch_second_is_refused():
    x = torch.randn(12, 2, 16)
    with pytest.raises(ModelError, match=r"^TransformerEncoderLayer returns \[12, 2, 16\], where merging tokens needs"):
        convert(encoder(batch_first=False), merging(0), {"src": x})


# --- recipes ------------------------------------------------------------------------------------------------


def test_a_plan_has_variants_and_then_reducers():
    attention = [AttentionRule(layers="1-2", variant="hedgehog")]
    reduce = [
        ReduceRule(layers=[0], reducer="token_merging", options={"r": 8}),
        ReduceRule(layers="1-2", reducer="token_merging", options={"r": 4}),
    ]
    plan = make_plan(attention, reduce, 4)
    assert [(choice.layer, choice.variant) for choice in plan] == [
        (1, "hedgehog"), (2, "hedgehog"), (0, "token_merging"), (1, "token_merging"), (2, "token_merging"),
    ]  # fmt: skip
    assert [choice.options.get("r") for choice in plan] == [None, None, 8, 4, 4]
    message = r"^reduce\[1\]: layer 1 has token_merging already\n  fix: name each layer once$"
    with pytest.raises(RecipeError, match=message):
        make_plan(attention, [ReduceRule(layers="0-1", reducer="token_merging", options={"r": 8}), reduce[1]], 4)
    with pytest.raises(RecipeError, match=r"^reduce\[0\]: layer 3 does not exist: the model has 3 layers, 0 to 2$"):
        make_plan(attention, [ReduceRule(layers="1-3", reducer="token_merging", options={"r": 8})], 3)


def test_layers_may_merge_differently():
    model, feeds = tiny_models.make("bert", layers=4)
    plan = (*merging(0), Choice(1, "token_merging", {"r": 2, "protect": 3}), Choice(2, "token_merging", {"r": 6}))
    convert(model, plan, feeds)
    lengths = [layer.length for layer in find_layers(model, feeds)]
    assert [before - after for before, after in pairwise(lengths)] == [4, 2, 6]
