"""`edgeattn inspect`: layers, costs, and what can replace them."""

from __future__ import annotations

import json

import pytest
import tiny_models
import transformers

from edgeattn.attention import ATTENTION
from edgeattn.cli.main import run
from edgeattn.convert import Choice, convert
from edgeattn.models.student import save_student


@pytest.fixture
def saved(tmp_path):
    """A function: name of a tiny model -> its folder."""

    def save(name, **options):
        model, _ = tiny_models.make(name, layers=2, **options)
        model.save_pretrained(tmp_path / name)
        return str(tmp_path / name)

    return save


def document(capsys, *arguments):
    assert run(["inspect", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_an_encoder_can_have_all_that_is_bidirectional(saved, capsys):
    found = document(capsys, saved("bert"), "--length", "20")
    assert found["architecture"] == "BertModel"
    assert found["inputs"] == {"input_ids": [1, 20], "attention_mask": [1, 20]}
    first, second = found["layers"]
    assert (first["name"], first["kind"]) == ("encoder.layer.0.attention.self", "BertSelfAttention")
    assert (second["heads"], second["head_dim"], second["tokens"]) == (2, 8, 20)
    assert first["parameters"] == 3 * (16 * 16 + 16)
    assert first["core_flops"] == 2 * 2 * 20 * 20 * 16
    assert first["flops"] == 3 * 2 * 20 * 16 * 16 + first["core_flops"]
    assert found["flops"] > 2 * first["flops"]
    assert first["variants"] == [name for name in ATTENTION if ATTENTION[name].bidirectional and name != "dense"]


def test_a_decoder_can_have_what_is_causal(saved, capsys):
    for layer in document(capsys, saved("llama"))["layers"]:
        assert layer["causal"] is True
        assert {"hedgehog", "gated_delta"} <= set(layer["variants"])
        assert all(ATTENTION[name].causal for name in layer["variants"])


def test_cross_attention_is_counted_with_the_other_sequence(saved, capsys):
    layers = document(capsys, saved("t5"), "--length", "20")["layers"]
    cross = next(layer for layer in layers if layer["cross"])
    assert cross["tokens"] == 16
    assert cross["core_flops"] == 2 * 2 * 16 * 20 * 16


def test_an_image_model_has_tokens_for_its_patches(saved, capsys):
    found = document(capsys, saved("vit"))
    assert found["inputs"] == {"pixel_values": [1, 1, 8, 8]}
    assert {layer["tokens"] for layer in found["layers"]} == {17}


def test_a_student_says_what_its_layers_have(tmp_path, capsys):
    model, feeds = tiny_models.make("bert", layers=2)
    plan = (Choice(1, "hedgehog", {}),)
    save_student(convert(model, plan, feeds), plan, tmp_path)
    assert [layer["attention"] for layer in document(capsys, str(tmp_path))["layers"]] == ["dense", "hedgehog"]


def test_the_human_output_is_a_table_and_what_can_be_done(saved, capsys):
    assert run(["inspect", saved("bert")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("BertModel: ")
    assert "\n0      encoder.layer.0.attention.self  dense      2 x 8  " in out
    assert "\nlayers 0-1 can have hedgehog, " in out
    assert max(map(len, out.splitlines()[:5])) <= 110


def test_a_bias_of_relative_positions_leaves_windows_and_says_so(saved, capsys):
    assert run(["inspect", saved("t5")]) == 0
    out = capsys.readouterr().out
    assert "dense causal bias" in out
    assert "\nlayers 0-1 can have sliding_window, dilated_window, window_2d, block_topk\n" in out
    assert "\nlayer 3 must stay dense: nothing else fits\n" in out


def test_a_model_without_a_layer_that_can_change_says_so(saved, capsys, monkeypatch):
    found = document(capsys, saved("bert"))
    for layer in found["layers"]:
        layer["variants"] = []
    monkeypatch.setattr("edgeattn.models.inspection.inspect_model", lambda *_, **__: found)
    assert run(["inspect", "any"]) == 0
    end = "\nlayers 0-1 must stay dense: nothing else fits\nnothing of this model can be converted\n"
    assert capsys.readouterr().out.endswith(end)


def test_a_bias_that_starts_at_zero_is_listed(tmp_path, capsys):
    """Swin's and BEiT's tables of relative positions are zeros in a new model, and not in a trained one."""
    config = transformers.SwinConfig(
        image_size=32, patch_size=2, embed_dim=16, depths=[2], num_heads=[2], window_size=4
    )
    config.save_pretrained(tmp_path)
    for layer in document(capsys, str(tmp_path))["layers"]:
        assert layer["bias"] is True
        assert "hedgehog" not in layer["variants"]
        assert "window_2d" in layer["variants"]


def test_attention_that_cannot_be_replaced_is_listed(tmp_path, capsys):
    config = transformers.LongT5Config(vocab_size=48, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    config.save_pretrained(tmp_path)
    found = document(capsys, str(tmp_path))
    name = "encoder.block.0.layer.0.LocalSelfAttention"
    kind, reason = "LongT5LocalAttention", "adds relative positions to its scores"
    assert found["left_out"] == [{"name": name, "kind": kind, "reason": reason}]
    assert [layer["kind"] for layer in found["layers"]] == ["LongT5Attention"] * 2
    assert run(["inspect", str(tmp_path)]) == 0
    assert f"\n{name} stays as it is: {kind} {reason}\n" in capsys.readouterr().out


def test_a_model_without_the_interface_is_refused(saved, capsys):
    assert run(["inspect", saved("fnet")]) == 2
    assert (
        "FNetModel has no attention that edgeattn can replace: none of its modules is called attention"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"model_type": "no-such"}', "config.json: The checkpoint you are trying to load has model type `no-such`"),
        ('{"auto_map": {}}', "auto_map asks to run code that came with the model"),
        ("{", "config.json: not JSON: Expecting property name"),
    ],
)
def test_a_config_that_is_none_is_refused(tmp_path, capsys, config, message):
    (tmp_path / "config.json").write_text(config)
    assert run(["inspect", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_what_is_not_a_model_and_too_many_tokens_are_refused(saved, capsys, tmp_path):
    assert run(["inspect", str(tmp_path / "nowhere")]) == 2
    assert "no config.json" in capsys.readouterr().err
    assert run(["inspect", __file__]) == 2
    assert "no config.json" in capsys.readouterr().err
    assert run(["inspect", "hub:org/name", "--revision", "no!"]) == 2
    assert capsys.readouterr().err.startswith("error: hub:org/name: revision: String should match pattern")
    assert run(["inspect", saved("bert"), "--length", "4000"]) == 2
    assert "4000 tokens are more than the 32 positions of the model" in capsys.readouterr().err
