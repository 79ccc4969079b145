"""Every architecture that must work, from conversion to ONNX Runtime, with random weights."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnxruntime
import pytest
import tiny_models
import torch
import transformers
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from edgeattn.convert import Choice, convert, find_layers, variants
from edgeattn.export.onnx import PREFERRED_OPSET, export, save
from edgeattn.models.student import load_student, save_student

HEDGEHOG, WINDOW = ("hedgehog", {"feature_dim": 4}), ("sliding_window", {"window": 4, "global_tokens": 1})
TEXT = ("input_ids", "attention_mask")
SEQUENCE = {0: "batch", 1: "sequence"}


@dataclass(frozen=True)
class Case:
    """layers: (kind of sequence, causal, cross) of each that the model must be found to have."""

    layers: str  # one letter each: b bidirectional, c causal, x cross-attention
    dims: dict[str, dict[int, str]] = field(default_factory=dict)  # of inputs whose length may change too
    model: type | None = None


CASES = {
    **dict.fromkeys(("bert", "distilbert", "roberta", "modernbert"), Case("bb", dict.fromkeys(TEXT, SEQUENCE))),
    **dict.fromkeys(("gpt2", "llama", "qwen3", "clip_text"), Case("cc", dict.fromkeys(TEXT, SEQUENCE))),
    **dict.fromkeys(("vit", "deit", "dinov2", "clip_vision", "ast", "patchtst"), Case("bb")),
    "clip": Case("bbcc", dict.fromkeys(TEXT, SEQUENCE)),
    "siglip": Case("bbxbb", {"input_ids": SEQUENCE}),
    "whisper_encoder": Case("bb", model=WhisperEncoder),
    "whisper": Case("bbcxcx", dict.fromkeys(("decoder_input_ids", "decoder_attention_mask"), SEQUENCE)),
    "wav2vec2": Case("bb", dict.fromkeys(("input_values", "attention_mask"), SEQUENCE)),
}
every = pytest.mark.parametrize("name", CASES)


def kinds(layers):
    return "".join("x" if layer.cross else "c" if layer.shape.causal else "b" for layer in layers)


def plan_for(layers):
    """Hedgehog and windows in turn; windows have no place between two sequences."""
    return tuple(
        Choice(layer, *(WINDOW if layer % 2 and kind != "x" else HEDGEHOG)) for layer, kind in enumerate(layers)
    )


def tensors(out):
    return {key: x for key, x in out.items() if isinstance(x, torch.Tensor) and x.is_floating_point()}


def run(model, feeds):
    with torch.no_grad():
        return tensors(model(**feeds, use_cache=False) if "decoder_input_ids" in feeds else model(**feeds))


def real(name, values, feeds):
    """Without what is computed for padding, which is nobody's to define."""
    mask = feeds.get("attention_mask", feeds.get("decoder_attention_mask"))
    if mask is None or name == "wav2vec2":
        return values
    return {key: x[mask.bool()] if x.shape[:2] == mask.shape else x for key, x in values.items()}


def close(found, expected, tolerance=1e-4):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(
            found[key], value, rtol=tolerance, atol=tolerance, msg=lambda m, key=key: f"{key}: {m}"
        )


@every
def test_dense_layers_are_the_models_own(name):
    model, feeds = tiny_models.make(name, 2)
    model.set_attn_implementation("sdpa")
    expected = run(model, feeds)
    layers = find_layers(model, feeds)
    assert kinds(layers) == CASES[name].layers
    assert all((layer.shape.heads, layer.shape.head_dim) == (2, 8) for layer in layers)
    close(real(name, run(model, feeds), feeds), real(name, expected, feeds), 1e-5)


@every
def test_a_converted_model_trains_and_comes_back_from_disk(name, tmp_path):
    model, feeds = tiny_models.make(name, 2)
    dense = run(model, feeds)
    plan = plan_for(CASES[name].layers)
    convert(model, plan, feeds)
    assert sorted(variant.name for variant in variants(model)) == sorted(choice.variant for choice in plan)
    loss = sum(value.square().mean() for value in tensors(model(**feeds)).values())
    loss.backward()
    with torch.no_grad():
        for weight in (weight for variant in variants(model) for weight in variant.parameters()):
            assert weight.grad is not None
            assert bool(weight.grad.isfinite().all() and weight.grad.any())
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    found = run(model, feeds)
    assert any(float((found[key] - dense[key]).abs().max()) > 1e-2 for key in dense)
    save_student(model, plan, tmp_path)
    again = load_student(tmp_path, CASES[name].model or type(model), feeds)
    close(run(again, feeds), found, 1e-6)


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("clip_text", "clip_vision", "whisper")])
def test_onnx_runtime_computes_the_same(name, tmp_path):
    # What differs between architectures is around one layer; tracing more takes long.
    model, feeds = tiny_models.make(name, 2 if name in ("bert", "modernbert") else 1)
    layers = find_layers(model, feeds)
    plan = plan_for(kinds(layers))
    if name != "bert":
        plan = tuple(Choice(choice.layer, *HEDGEHOG) for choice in plan)
    convert(model, plan, feeds)
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    dims = {key: CASES[name].dims.get(key, {0: "batch"}) for key in feeds}
    short, long = (16, 512) if name == "wav2vec2" else (1, 32)  # its convolutions need 16 samples
    two = {key: x[:2] for key, x in feeds.items()}
    graph, _ = export(model, two, dims, opset=PREFERRED_OPSET, limits={"sequence": (short, long)})
    save(graph, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert {node.name for node in session.get_inputs()} == feeds.keys()
    for other in (feeds, tiny_models.feeds(name, (7,), seed=2)):
        expected = run(model, other)
        values = session.run(list(expected), {key: x.numpy() for key, x in other.items()})
        found = {key: torch.from_numpy(x) for key, x in zip(expected, values, strict=True)}
        close(real(name, found, other), real(name, expected, other))


def test_greedy_generation_with_a_cache_is_that_without():
    _, feeds = tiny_models.make("llama", 2)
    torch.manual_seed(3)
    model = transformers.LlamaForCausalLM(tiny_models.config("llama", 2, initializer_range=1.0)).eval()
    prompt = {key: x.flip(1) for key, x in feeds.items()}  # generation pads on the left
    convert(model, (Choice(0, *HEDGEHOG),), feeds)
    with torch.no_grad():
        one, other = (
            model.generate(**prompt, max_new_tokens=6, min_new_tokens=6, do_sample=False, use_cache=cache)
            for cache in (True, False)
        )
    assert torch.equal(one, other)
    assert len(set(one[0, -6:].tolist())) > 1
