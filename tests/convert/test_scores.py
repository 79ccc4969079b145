"""Layers whose softmax has more than scores and masks: a soft cap (Gemma 2), attention sinks (gpt-oss)."""

from __future__ import annotations

import onnxruntime
import pytest
import tiny_models
import torch
import transformers

from edgeattn.attention import ATTENTION
from edgeattn.convert import Choice, convert, find_layers, fitting, transfer_losses
from edgeattn.errors import ModelError
from edgeattn.export.onnx import PREFERRED_OPSET, export, save

MODELS = {
    "Gemma2": {"attn_logit_softcapping": 0.5, "query_pre_attn_scalar": 8},
    "GptOss": {"num_local_experts": 2, "num_experts_per_tok": 1},
}
NAMES = {"Gemma2": "soft cap", "GptOss": "attention sink"}
both = pytest.mark.parametrize("name", MODELS)


def make(name):
    """(model, feeds, its own hidden states); one layer has a window, the other has none."""
    config = getattr(transformers, f"{name}Config")(
        vocab_size=48, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
        intermediate_size=24, pad_token_id=0, sliding_window=4, initializer_range=0.4,
        layer_types=["sliding_attention", "full_attention"], use_cache=False, **MODELS[name],
    )  # fmt: skip
    torch.manual_seed(0)
    model, feeds = getattr(transformers, f"{name}Model")(config).eval(), tiny_models.feeds("llama")
    model.set_attn_implementation("eager")
    return model, feeds, hidden(model, feeds)


def hidden(model, feeds):
    with torch.no_grad():
        return tiny_models.real(model(**feeds).last_hidden_state, feeds)


@both
def test_dense_layers_compute_them(name):
    model, feeds, expected = make(name)
    layers = find_layers(model, feeds)
    assert [(layer.scores, layer.window, layer.shape.causal) for layer in layers] == [
        (NAMES[name], 4, True),
        (NAMES[name], None, True),
    ]
    torch.testing.assert_close(hidden(model, feeds), expected, rtol=1e-5, atol=1e-5)


@both
def test_variants_that_learn_their_scores_replace_them(name):
    model, feeds, _ = make(name)
    convert(model, (Choice(1, "hedgehog", {"feature_dim": 4}),), feeds)
    with transfer_losses() as losses:
        model(**feeds)
    assert len(losses) == 1
    losses[0].backward()
    assert all(weight.grad.any() for weight in model.layers[1].self_attn.edgeattn.parameters())


@both
def test_variants_with_dense_scores_are_refused(name):
    model, feeds, _ = make(name)
    layer = find_layers(model, feeds)[1]
    exact = [each for each in ATTENTION if ATTENTION[each].biased]
    assert not {*exact} & {*fitting(layer)}
    message = rf"^layer 1 \(layers.1.self_attn\): sliding_window does not compute the {NAMES[name]} of this layer\n"
    with pytest.raises(ModelError, match=message):
        convert(model, (Choice(1, "sliding_window", {"window": 64}),), feeds)


def test_onnx_runtime_computes_a_sink(tmp_path):
    model, feeds, _ = make("GptOss")
    model.layers[0].mlp = model.layers[1].mlp = torch.nn.ModuleDict()  # experts are not what is looked at
    for layer in model.layers:
        layer.mlp.forward = lambda x: (x, None)
    find_layers(model, feeds)
    two = {key: x[:2] for key, x in feeds.items()}
    dims = {key: {0: "batch", 1: "sequence"} for key in feeds}
    graph, _ = export(model, two, dims, opset=PREFERRED_OPSET, limits={"sequence": (1, 64)})
    save(graph, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    other = tiny_models.feeds("llama", (7, 5, 9, 2), seed=3)
    (found,) = session.run(["last_hidden_state"], {key: x.numpy() for key, x in other.items()})
    torch.testing.assert_close(
        tiny_models.real(torch.from_numpy(found), other), hidden(model, other), rtol=1e-4, atol=1e-4
    )
