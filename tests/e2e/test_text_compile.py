"""`edgeattn compile` of tiny text models: causal layers, reducers, length buckets and fused operators end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_models

from edgeattn.bundle import Bundle
from edgeattn.runtimes import RUNTIMES

RECIPE = """\
schema: 1
name: tiny-text
description: A tiny text model with random weights
model: {{source: teacher}}
task: {{kind: text-embedding, max_length: 24}}
data:
  train: {{source: train.txt}}
  eval: {{source: eval.txt}}
attention:
{attention}
{more}
distill:
  finetune: {{steps: 12, learning_rate: 1e-3, batch_size: 8}}
quantize: {{precisions: [fp32]}}
accept: {{metric: teacher_cosine, of_teacher: 0.3}}
bench: {{lengths: [12], pairs: 3}}
"""
CAUSAL = ("llama", "  - {layers: [0], variant: hedgehog, options: {feature_dim: 4}}", "export: {buckets: [16, 8]}", 2)
MANY = (
    "bert",
    """\
  - {layers: [0], variant: window_linear, options: {window: 8}}
  - {layers: [1], variant: agent, options: {agents: 4}}""",
    """\
reduce:
  - {layers: [0], reducer: token_merging, options: {r: 2}}""",
    2,
)


@pytest.mark.parametrize("case", [CAUSAL, MANY], ids=["causal", "many"])
def test_a_text_recipe_becomes_a_bundle(case, tmp_path):
    """One test, since one compile serves all that is asked of its bundle."""
    architecture, attention, more, layers = case
    folder = tmp_path
    model, _ = tiny_models.make(architecture, layers=layers)
    model.save_pretrained(folder / "teacher")
    tiny_models.tokenizer(folder / "teacher")
    (folder / "train.txt").write_text("\n".join(tiny_models.sentences(48)))
    (folder / "eval.txt").write_text("\n".join(tiny_models.sentences(16, seed=1)))
    (folder / "recipe.yaml").write_text(RECIPE.format(attention=attention, more=more))
    hasty = str(Path(__file__).with_name("hasty.py"))
    found = subprocess.run(
        [sys.executable, hasty, "compile", "recipe.yaml", "--out", "bundle"],
        cwd=folder, env={**os.environ, "EDGEATTN_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    the_bundle_is_whole_and_right(architecture, folder / "bundle")
    fused_operators_are_tried_and_the_evidence_says_which_was_kept(architecture, folder / "bundle")
    length_buckets_are_used_and_answer_alike(architecture, folder / "bundle")


def operators(path):
    return {f"{node.domain}::{node.op_type}" for node in onnx.load(path, load_external_data=False).graph.node}


def the_bundle_is_whole_and_right(architecture, bundle):
    opened = Bundle.open(bundle)
    assert json.loads((bundle / "verify.json").read_text())["passed"] is True
    named = [choice["variant"] for choice in opened.manifest.plan]
    assert named == {
        "llama": ["hedgehog"],
        "bert": ["window_linear", "agent", "token_merging"],
    }[architecture]  # fmt: skip
    assert not {"::Loop", "::Scan", "::If"} & operators(bundle / "model.onnx")


def fused_operators_are_tried_and_the_evidence_says_which_was_kept(architecture, bundle):
    choice = Bundle.open(bundle).manifest.choice["efficient"]
    tried = [candidate["name"].removesuffix(" fp32") for candidate in choice["candidates"]]
    each = ["efficient-fused", "efficient-fused-LinearAttention", "efficient-fused-MultiHeadAttention"]
    assert tried == ["efficient", *(each if architecture == "llama" else [])]  # no variant of MANY has an operator
    values = [candidate["teacher_cosine"] for candidate in choice["candidates"]]
    np.testing.assert_allclose(values, values[0], atol=1e-4)  # all are the same model
    fused = {name for name in operators(bundle / "model.onnx") if name.startswith("com.microsoft")}
    assert bool(fused) == choice["chosen"].startswith("efficient-fused")


def length_buckets_are_used_and_answer_alike(architecture, bundle):
    fixed = sorted(path.name for path in bundle.glob("*-*.onnx"))
    if architecture != "llama":
        assert fixed == []
        return
    assert fixed == ["dense-16.onnx", "dense-8.onnx", "model-16.onnx", "model-8.onnx"]
    session = RUNTIMES["onnxruntime"].load(bundle, bundle / "engine" / "efficient", 1)
    assert session.describe()["buckets"] == [8, 16]
    plain = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    for length in (3, 8, 11, 20):
        feeds = {
            "input_ids": np.random.default_rng(length).integers(5, 40, (2, length)),
            "attention_mask": np.ones((2, length), np.int64),
        }
        (expected,) = plain.run(["sentence_embedding"], feeds)
        np.testing.assert_allclose(session.run(feeds)["sentence_embedding"], expected, atol=1e-5)
