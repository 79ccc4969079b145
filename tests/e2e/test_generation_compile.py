"""`edgeattn compile` of a tiny language model: an output with an axis of its own, scored by what is kept of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tiny_models

from edgeattn.bundle import Bundle
from edgeattn.runtimes import RUNTIMES

RECIPE = """\
schema: 1
name: tiny-generation
description: A tiny language model with random weights
model: {source: teacher}
task: {kind: text-generation, max_length: 16}
data:
  train: {source: train.txt}
  eval: {source: eval.txt}
attention:
  - {layers: [0], variant: hedgehog, options: {feature_dim: 4}}
export: {buckets: [16]}
distill:
  finetune: {steps: 12, learning_rate: 1e-3, batch_size: 8}
quantize: {methods: [fp32, int8-weights, int4-weights]}
accept: {of_teacher: 0.3}
bench: {lengths: [12], pairs: 3}
"""


@pytest.mark.slow
def test_a_language_model_becomes_a_bundle(tmp_path: Path) -> None:
    """One test, because one compile serves all checks of its bundle."""
    tiny_models.make("llama", layers=1, head="LlamaForCausalLM")[0].save_pretrained(tmp_path / "teacher")
    tiny_models.tokenizer(tmp_path / "teacher")
    (tmp_path / "train.txt").write_text("\n".join(tiny_models.sentences(48)))
    (tmp_path / "eval.txt").write_text("\n".join(tiny_models.sentences(16, seed=1)))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    found = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("hasty.py")), "compile", "recipe.yaml", "--out", "bundle"],
        cwd=tmp_path, env={**os.environ, "EDGEATTN_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    bundle = Bundle.open(tmp_path / "bundle")
    the_interface_says_what_the_axes_are(bundle)
    the_metrics_are_those_of_a_language_model(bundle)
    buckets_cut_the_output_along_its_axis(bundle)
    the_graphs_of_one_token_carry_what_their_layers_need(bundle)


def the_interface_says_what_the_axes_are(bundle: Bundle) -> None:
    document = json.loads((bundle.path / "bundle.json").read_text())
    assert document["axes"] == {"sequence": {"unit": "tokens", "mask": "attention_mask", "longest": None}}
    assert document["length_axis"] == "sequence"
    assert document["outputs"] == [{"name": "logits", "dtype": "float32", "dims": ["batch", "sequence", 48]}]


def the_metrics_are_those_of_a_language_model(bundle: Bundle) -> None:
    metrics = json.loads((bundle.path / "verify.json").read_text())["metrics"]
    assert list(bundle.manifest.task.metrics) == ["perplexity", "next_token_accuracy", "teacher_agreement"]
    perplexity = metrics["perplexity"]
    assert perplexity["passed"] is True
    assert perplexity["floor"] == pytest.approx(perplexity["teacher"] / 0.3)  # more is worse
    evaluation = bundle.arrays("eval")
    assert {name for name in evaluation if name.startswith("reference.")} == {
        "reference.next_token_losses", "reference.likeliest_tokens",
    }  # fmt: skip
    losses, mask = evaluation["reference.next_token_losses"], evaluation["input.attention_mask"]
    assert np.exp(losses.sum() / mask[:, 1:].sum()) == pytest.approx(perplexity["teacher"], rel=1e-5)


def buckets_cut_the_output_along_its_axis(bundle: Bundle) -> None:
    engine = bundle.manifest.engines["efficient"]
    session = RUNTIMES[engine.runtime].load(bundle.path, bundle.path / engine.path, 1)
    assert session.describe()["buckets"] == [16]
    plain = onnxruntime.InferenceSession(bundle.path / engine.graph, providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(0).integers(5, 40, (2, 11))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    found = session.run(feeds)["logits"]
    assert found.shape == (2, 11, 48)
    np.testing.assert_allclose(found, plain.run(["logits"], feeds)[0], atol=1e-4)


def the_graphs_of_one_token_carry_what_their_layers_need(bundle: Bundle) -> None:
    decode = bundle.manifest.decode
    assert {side: graph.method for side, graph in decode.items()} == {"efficient": "fp32", "dense": "fp32"}
    assert min(graph.cosine for graph in decode.values()) > 0.9999
    assert [each.dims for each in decode["efficient"].carried] == [("batch", 2, 8, 8), ("batch", 2, 8, 1)]
    assert [each.dims for each in decode["dense"].carried] == [("batch", 1, "past", 8)] * 2
    assert bundle.manifest.no_decode is None
