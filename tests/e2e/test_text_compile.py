"""`edgeattn compile` of a tiny causal text model: fused operators and length buckets end to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import tiny_models

from edgeattn.bundle import Bundle
from edgeattn.runtimes import RUNTIMES

RECIPE = """\
schema: 1
name: tiny-text
description: A tiny text model with random weights
model: {source: teacher}
task: {kind: text-embedding, max_length: 24}
data:
  train: {source: train.txt}
  eval: {source: eval.txt}
attention:
  - {layers: [0], variant: hedgehog, options: {feature_dim: 4}}
export: {buckets: [16, 8]}
distill:
  finetune: {steps: 12, learning_rate: 1e-3, batch_size: 8}
quantize: {methods: [fp32]}
accept: {metric: teacher_cosine, of_teacher: 0.3}
bench: {lengths: [12], pairs: 3}
"""


def test_a_causal_recipe_becomes_a_bundle(tmp_path):
    """One test, because one compile serves all checks of its bundle."""
    model, _ = tiny_models.make("llama", layers=1)
    model.save_pretrained(tmp_path / "teacher")
    tiny_models.tokenizer(tmp_path / "teacher")
    (tmp_path / "train.txt").write_text("\n".join(tiny_models.sentences(48)))
    (tmp_path / "eval.txt").write_text("\n".join(tiny_models.sentences(16, seed=1)))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    hasty = str(Path(__file__).with_name("hasty.py"))
    found = subprocess.run(
        [sys.executable, hasty, "compile", "recipe.yaml", "--out", "bundle"],
        cwd=tmp_path, env={**os.environ, "EDGEATTN_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    the_bundle_is_whole_and_right(tmp_path / "bundle")
    fused_operators_are_tried_and_the_evidence_says_which_was_kept(tmp_path / "bundle")
    length_buckets_are_used_and_answer_alike(tmp_path / "bundle")


def operators(path):
    return {f"{node.domain}::{node.op_type}" for node in onnx.load(path, load_external_data=False).graph.node}


def the_bundle_is_whole_and_right(bundle):
    opened = Bundle.open(bundle)
    assert json.loads((bundle / "verify.json").read_text())["passed"] is True
    assert [choice.variant for choice in opened.manifest.plan] == ["hedgehog"]
    assert not {"::Loop", "::Scan", "::If"} & operators(bundle / "model.onnx")


def fused_operators_are_tried_and_the_evidence_says_which_was_kept(bundle):
    build = json.loads((bundle / "build.json").read_text())
    rows = [row for row in build["candidates"] if row["side"] == "efficient"]
    assert {(row["form"], row["runtime"]) for row in rows} == {
        ("plain", "onnxruntime"),
        ("plain", "openvino"),
        ("fused", "onnxruntime"),
    }
    assert all(row["cosine"] > 0.9999 for row in rows)  # all are the same model
    shipped = next(row for row in rows if row["state"] == "shipped")
    fused = {name for name in operators(bundle / "model.onnx") if name.startswith("com.microsoft")}
    assert bool(fused) == (shipped["form"] == "fused")


def length_buckets_are_used_and_answer_alike(bundle):
    fixed = sorted(path.name for path in bundle.glob("*-*.onnx"))
    assert fixed == ["dense-16.onnx", "dense-8.onnx", "model-16.onnx", "model-8.onnx"]
    runtime = Bundle.open(bundle).manifest.engines["efficient"].runtime
    session = RUNTIMES[runtime].load(bundle, bundle / "engine" / "efficient", 1)
    assert session.describe()["buckets"] == [8, 16]
    plain = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    for length in (3, 8, 11, 20):
        feeds = {
            "input_ids": np.random.default_rng(length).integers(5, 40, (2, length)),
            "attention_mask": np.ones((2, length), np.int64),
        }
        (expected,) = plain.run(["sentence_embedding"], feeds)
        np.testing.assert_allclose(session.run(feeds)["sentence_embedding"], expected, atol=1e-5)
