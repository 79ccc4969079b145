"""Layers that add a learned bias to their scores, with windows and chosen blocks: T5, BEiT and Swin."""

from __future__ import annotations

import copy

import onnxruntime
import pytest
import tiny_models
import torch
import transformers

from edgeattn.convert import Choice, convert, find_layers, fitting, transfer_losses, variants
from edgeattn.errors import ModelError
from edgeattn.export.onnx import PREFERRED_OPSET, export, save
from edgeattn.models.student import load_student, save_student

# Of each model: options with which a variant sees all that its layer sees, and options with which it does not.
CASES = {
    ("t5", "sliding_window"): ({"window": 48}, {"window": 4, "global_tokens": 1}),
    ("t5", "dilated_window"): ({"window": 48, "dilation": 1}, {"window": 4, "dilation": 2}),
    ("t5", "block_topk"): ({"block": 8, "topk": 2}, {"block": 4, "topk": 1}),
    ("beit", "window_2d"): ({"window": 4}, {"window": 2}),
    ("beit", "block_topk"): ({"block": 8, "topk": 2}, {"block": 4, "topk": 1}),
    ("swin", "window_2d"): ({"window": 4, "prefix_tokens": 0}, {"window": 2, "prefix_tokens": 0}),
    ("swin", "sliding_window"): ({"window": 32}, {"window": 4, "global_tokens": 0}),
}
TABLES = {"t5": "relative_attention_bias", "beit": "relative_position_bias", "swin": "relative_position_bias"}
every = pytest.mark.parametrize(("name", "variant"), CASES)


def make(name, variant=None, options=None):
    model, feeds = tiny_models.make(name, 2)
    model.set_attn_implementation("eager")
    if variant is not None:
        convert(model, (Choice(0, variant, options), Choice(1, variant, options)), feeds)
    return model, feeds


def hidden(model, feeds):
    """Of tokens that are no padding."""
    return tiny_models.real(model(**feeds).last_hidden_state, feeds)


@every
def test_a_window_as_wide_as_the_sequence_changes_nothing(name, variant):
    wide, narrow = CASES[name, variant]
    with torch.no_grad():
        expected = hidden(*make(name))
        torch.testing.assert_close(hidden(*make(name, variant, wide)), expected, rtol=1e-5, atol=1e-5)
        assert (hidden(*make(name, variant, narrow)) - expected).abs().max() > 1e-2


@every
def test_a_narrow_window_learns_and_so_does_the_bias(name, variant):
    with torch.no_grad():
        expected = hidden(*make(name))
    student, feeds = make(name, variant, CASES[name, variant][1])
    tables = {key: x.clone() for key, x in student.named_parameters() if TABLES[name] in key}
    optimizer = torch.optim.Adam(student.parameters(), lr=1e-3)
    losses = []
    for _ in range(20):
        loss = (hidden(student, feeds) - expected).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
    assert tables
    for key, before in tables.items():
        assert not torch.equal(student.get_parameter(key), before)


@every
def test_transfer_compares_with_dense_attention_and_its_bias(name, variant):
    """A window as wide as the sequence has no error against it, a narrow one has."""
    wide, narrow = CASES[name, variant]
    for options, low, high in ((wide, 0.0, 1e-9), (narrow, 1e-3, 10.0)):
        model, feeds = make(name, variant, options)
        with transfer_losses() as losses:
            model(**feeds)
        assert len(losses) == 2
        assert all(low <= float(loss) < high for loss in losses)
        assert not any(loss.requires_grad for loss in losses)  # these variants have nothing to learn of their own


@pytest.mark.parametrize("name", TABLES)
def test_variants_that_add_a_bias_fit_a_layer_that_has_one(name):
    model, feeds = make(name)
    assert [fitting(layer) for layer in find_layers(model, feeds)] == 2 * [
        ["sliding_window", "dilated_window", "window_2d", "block_topk"]
    ]
    with pytest.raises(ModelError, match="hedgehog cannot add this layer's bias") as caught:
        convert(model, (Choice(0, "hedgehog", {}),), feeds)
    assert caught.value.fix == "use sliding_window, dilated_window, window_2d, block_topk, or leave this layer dense"


@pytest.mark.parametrize(("name", "variants"), [("t5", ["sliding_window", "block_topk"]), ("swin", ["window_2d"] * 2)])
def test_onnx_runtime_computes_the_same(name, variants, tmp_path):
    model, feeds = make(name)
    convert(model, tuple(Choice(i, each, CASES[name, each][1]) for i, each in enumerate(variants)), feeds)
    sequence = {0: "batch", 1: "sequence"} if name == "t5" else {0: "batch"}
    dims, two = dict.fromkeys(feeds, sequence), {key: x[:2] for key, x in feeds.items()}
    graph, _ = export(model, two, dims, opset=PREFERRED_OPSET, limits={"sequence": (1, 64)})
    save(graph, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for other in (feeds, tiny_models.feeds(name, (37, 7), seed=2)):
        (found,) = session.run(["last_hidden_state"], {key: x.numpy() for key, x in other.items()})
        with torch.no_grad():
            expected = hidden(model, other)
        torch.testing.assert_close(tiny_models.real(torch.from_numpy(found), other), expected, rtol=1e-4, atol=1e-4)


def test_a_bias_that_was_zero_when_the_layers_were_found_is_exported_once_it_is_not(tmp_path):
    """A new BEiT's is, and a trace that read it as a padding mask would say nothing."""
    model, feeds = make("beit")
    tables = [x for key, x in model.named_parameters() if TABLES["beit"] in key]
    learned = copy.deepcopy(tables)
    for table in tables:
        torch.nn.init.zeros_(table)
    convert(model, (Choice(0, "window_2d", {"window": 2}),), feeds)
    with torch.no_grad():
        before = hidden(model, feeds)
        for table, value in zip(tables, learned, strict=True):
            table.copy_(value)
        expected = hidden(model, feeds)
    assert (expected - before).abs().max() > 1e-2
    program = torch.export.export(model, (), kwargs=dict(feeds))
    with torch.no_grad():
        found = program.module()(**feeds).last_hidden_state
    torch.testing.assert_close(tiny_models.real(found, feeds), expected, rtol=1e-5, atol=1e-5)


def test_a_student_from_disk_knows_that_its_layers_have_a_bias(tmp_path):
    """Swin's table is zeros in a new model, which the student is made of before its weights are read."""
    model, feeds = make("swin", "window_2d", CASES["swin", "window_2d"][1])
    plan = tuple(Choice(layer, "window_2d", CASES["swin", "window_2d"][1]) for layer in range(2))
    save_student(model, plan, tmp_path)
    again = load_student(tmp_path, transformers.SwinModel, feeds)
    assert [variant.gets_bias for variant in variants(again)] == [True, True]
    with torch.no_grad():
        torch.testing.assert_close(hidden(again, feeds), hidden(model, feeds))


def test_generation_with_a_cache_takes_the_bias_of_the_last_queries():
    config = tiny_models.config("t5", 1, is_encoder_decoder=True, decoder_start_token_id=1, eos_token_id=2)
    torch.manual_seed(0)
    model = transformers.T5ForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    feeds = tiny_models.feeds("t5", (9, 5))
    start = {**feeds, "decoder_input_ids": torch.ones(2, 6, dtype=torch.long)}
    model.set_attn_implementation("eager")
    expected = model.generate(**feeds, max_new_tokens=8, min_new_tokens=8)
    layer = next(layer for layer in find_layers(model, start) if layer.shape.causal)
    assert layer.bias
    convert(model, (Choice(layer.index, "sliding_window", {"window": 64}),), start)
    for cache in (True, False):
        found = model.generate(**feeds, max_new_tokens=8, min_new_tokens=8, use_cache=cache)
        assert torch.equal(found, expected)
    assert len(set(expected[0].tolist())) > 2
