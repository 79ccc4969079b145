"""A plan's variants in real architectures with random weights, and what is refused."""

from __future__ import annotations

import pytest
import tiny_models
import torch
from transformers import AutoModel, AutoModelForImageClassification

from edgeattn.attention import ATTENTION
from edgeattn.convert import Choice, convert, find_layers, make_plan, plan_of, transfer_losses, variants
from edgeattn.errors import ModelError, RecipeError
from edgeattn.models.student import load_student, save_student
from edgeattn.recipe.schema import AttentionRule

HEDGEHOG = Choice(1, "hedgehog", {"feature_dim": 8})
WINDOW = Choice(0, "sliding_window", {"window": 4, "global_tokens": 1})


def hidden(model, feeds):
    """The last hidden state of what is no padding: [tokens, C]."""
    with torch.no_grad():
        out = model(**feeds, output_hidden_states=True)
    return tiny_models.real(out.hidden_states[-1], feeds)


def close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def different(a, b):
    return float((a - b).abs().max()) > 1e-2


@pytest.mark.parametrize("name", [*tiny_models.BIDIRECTIONAL, *tiny_models.CAUSAL])
def test_a_plan_of_dense_layers_is_the_original_model(name):
    model, feeds = tiny_models.make(name)
    model.set_attn_implementation("sdpa")
    expected = hidden(model, feeds)
    convert(model, (Choice(0, "dense", {}),), feeds)
    close(hidden(model, feeds), expected)
    assert variants(model) == []


@pytest.mark.parametrize("name", [*tiny_models.CAUSAL, "bert"])
def test_dense_layers_stand_padding_on_the_left(name):
    model, feeds = tiny_models.make(name)
    mask = feeds["attention_mask"].flip(1)
    feeds = {"attention_mask": mask, "input_ids": feeds["input_ids"].flip(1)}
    model.set_attn_implementation("sdpa")
    expected = hidden(model, feeds)
    close(hidden(convert(model, (), feeds), feeds), expected)


@pytest.mark.parametrize("name", ["bert", "distilbert", "modernbert", "vit"])
def test_a_plan_changes_the_layers_it_names(name):
    model, feeds = tiny_models.make(name)
    original = hidden(model, feeds)
    convert(model, (WINDOW, HEDGEHOG), feeds)
    assert different(hidden(model, feeds), original)
    assert [type(variant).name for variant in variants(model)] == ["sliding_window", "hedgehog"]
    assert variants(model)[1].options.feature_dim == 8
    assert variants(model)[1].shape.scaling == pytest.approx(8**-0.5)


def test_a_window_as_wide_as_the_sequence_changes_nothing():
    model, feeds = tiny_models.make("bert")
    expected = hidden(model, feeds)
    wide = tuple(Choice(layer, "sliding_window", {"window": 48, "global_tokens": 1}) for layer in range(3))
    close(hidden(convert(model, wide, feeds), feeds), expected)


def test_padding_does_not_change_a_converted_model():
    model, feeds = tiny_models.make("bert")
    convert(model, (WINDOW, HEDGEHOG), feeds)
    alone = {key: x[1:2, :9] for key, x in feeds.items()}
    together = hidden(model, {key: x[1:2] for key, x in feeds.items()})
    close(together, hidden(model, alone))


def test_layers_are_found_in_order_with_their_shapes():
    model, feeds = tiny_models.make("llama", num_key_value_heads=1)
    layers = find_layers(model, feeds)
    assert [layer.name for layer in layers] == [f"layers.{i}.self_attn" for i in range(3)]
    assert [(layer.shape.heads, layer.shape.head_dim, layer.shape.causal, layer.cross) for layer in layers] == [
        (2, 8, True, False)
    ] * 3


def test_a_module_that_several_layers_share_is_one_layer():
    model, feeds = tiny_models.make("albert")
    (layer,) = find_layers(model, feeds)
    convert(model, (Choice(layer.index, "hedgehog", {}),), feeds)
    with transfer_losses() as losses:
        model(**feeds)
    assert len(losses) == 3  # it is run three times, and learns from each


# --- on disk ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "auto_model"),
    [
        ("bert", AutoModel),
        ("distilbert", AutoModel),
        ("albert", AutoModel),
        ("vit", AutoModelForImageClassification),
    ],
)
def test_a_saved_student_is_the_same_model(name, auto_model, tmp_path):
    model, feeds = tiny_models.make(name)
    plan = (Choice(0, "hedgehog", {"feature_dim": 8}),)
    convert(model, plan, feeds)
    with torch.no_grad():
        variants(model)[0].query_map.add_(0.3)
    save_student(model, plan, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    again = load_student(tmp_path, auto_model, feeds)
    assert plan_of(again.config) == plan
    assert not again.training
    assert torch.equal(hidden(again, feeds), hidden(model, feeds))
    assert torch.equal(variants(again)[0].query_map, variants(model)[0].query_map)


def test_a_model_without_a_plan_is_no_student(tmp_path):
    model, feeds = tiny_models.make("bert", layers=1)
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="its config has no edgeattn plan\n  fix: give a folder that edgeattn wrote"):
        load_student(tmp_path, AutoModel, feeds)


# --- plans --------------------------------------------------------------------------------------------------


def rules(*layers):
    return [AttentionRule(layers=layer, variant="hedgehog") for layer in layers]


@pytest.mark.parametrize(
    ("layers", "expected"), [("all", [0, 1, 2, 3]), ([3, 1], [1, 3]), ("1-2", [1, 2]), ("0-0", [0])]
)
def test_rules_name_layers(layers, expected):
    assert [choice.layer for choice in make_plan(rules(layers), [], 4)] == expected


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([[7]], r"^attention\[0\]: layer 7 does not exist: the model has 4 layers, 0 to 3$"),
        (["2-9"], r"^attention\[0\]: layer 4 does not exist: the model has 4 layers, 0 to 3$"),
        ([[0], "0-2"], r"^attention\[1\]: layer 0 has hedgehog already\n  fix: name each layer once$"),
    ],
)
def test_wrong_rules_are_refused(layers, message):
    with pytest.raises(RecipeError, match=message):
        make_plan(rules(*layers), [], 4)


def test_a_layer_out_of_range_is_refused():
    model, feeds = tiny_models.make("bert")
    with pytest.raises(ModelError, match=r"^layer 3 does not exist: the model has 3 attention layers, 0 to 2$"):
        convert(model, (Choice(3, "hedgehog", {}),), feeds)


@pytest.mark.parametrize(("name", "layer"), [("llama", "layers.1.self_attn"), ("gpt2", "h.1.attn")])
@pytest.mark.parametrize("variant", [name for name in ATTENTION if not ATTENTION[name].causal and name != "dense"])
def test_a_bidirectional_variant_is_refused_on_a_causal_layer(name, layer, variant):
    model, feeds = tiny_models.make(name)
    with pytest.raises(ModelError) as caught:
        convert(model, (Choice(1, variant, {}),), feeds)
    assert caught.value.fact == f"{variant} is bidirectional, and this layer is causal"
    assert caught.value.where == f"layer 1 ({layer})"
    assert caught.value.fix.startswith(("use ", "leave this layer dense"))


def test_a_variant_is_refused_where_it_would_drop_a_position_bias():
    model, feeds = tiny_models.make("t5")
    with pytest.raises(ModelError, match=r"layer 1 \(.*\): hedgehog cannot add this layer's bias of relative"):
        convert(model, (HEDGEHOG,), feeds)


def test_a_model_without_the_interface_is_refused():
    model, feeds = tiny_models.make("fnet")
    with pytest.raises(ModelError, match=r"^FNetModel has no attention that edgeattn can replace: none of its modules"):
        find_layers(model, feeds)


def test_what_dense_attention_does_not_compute_is_refused():
    """Left out without a word, it would make another model of the teacher."""
    model, feeds = tiny_models.make("llama", 1)
    packed = {"input_ids": feeds["input_ids"][:1], "cu_seq_lens_q": torch.tensor([0, 10, 24], dtype=torch.int32)}
    message = (
        r"^layers.0.self_attn: LlamaAttention gives its attention 'cu_seq_lens_q', which edgeattn does not compute"
    )
    with pytest.raises(ModelError, match=message):
        find_layers(model, packed)


# --- attention transfer -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bert", "vit"])
def test_transfer_has_one_loss_a_layer_and_trains_variants_only(name):
    model, feeds = tiny_models.make(name)
    original = hidden(model, feeds)
    convert(model, (Choice(0, "hedgehog", {}), Choice(2, "hedgehog", {}), Choice(1, "dense", {})), feeds)
    with transfer_losses() as losses:
        out = model(**feeds, output_hidden_states=True).hidden_states[-1]
    assert len(losses) == 2
    assert all(loss.isfinite() and loss > 0 for loss in losses)
    close(tiny_models.real(out, feeds), original)  # the dense output goes on to the next layer
    torch.stack(losses).sum().backward()
    touched = {key.rpartition(".")[2] for key, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {"query_map", "key_map"}
    model(**feeds)
    assert len(losses) == 2  # outside the block, a forward pass appends nothing


def test_padding_has_no_part_in_the_transfer_loss():
    model, feeds = tiny_models.make("bert", layers=1)
    convert(model, (Choice(0, "hedgehog", {}),), feeds)
    one = {key: x[1:2, :9] for key, x in feeds.items()}
    with transfer_losses() as losses, torch.no_grad():
        model(**one)
        model(**{key: torch.nn.functional.pad(x, (0, 7)) for key, x in one.items()})
    alone, padded = losses
    torch.testing.assert_close(padded, alone, rtol=1e-3, atol=0)
