"""`edgeattn estimate`: what a user reads about a recipe or a bundle."""

from __future__ import annotations

import io
import json
import re

import pytest
import tiny_bundle
import tiny_models

from edgeattn.cli.main import run
from edgeattn.devices import load_device
from edgeattn.estimate.predict import predicted
from edgeattn.report.estimate import headlines, show_estimate

RECIPE = """\
schema: 1
name: tiny-text
description: A tiny text model with random weights
model: {source: teacher}
task: {kind: text-embedding, max_length: 24}
data:
  train: {source: texts.txt}
  eval: {source: texts.txt}
attention:
  - {layers: all, variant: hedgehog, options: {feature_dim: 4}}
quantize: {methods: [fp32, int8]}
"""
ORIN, PI = "jetson-agx-orin-64gb", "raspberry-pi-5"


@pytest.fixture
def candidates(tmp_path):
    """A bundle that is not built, of graphs for ONNX Runtime."""
    return tiny_bundle.make(tmp_path / "bundle", candidates={"fp32": tiny_bundle.graph()})


@pytest.fixture
def recipe(tmp_path):
    model, _ = tiny_models.make("bert", layers=1)
    model.save_pretrained(tmp_path / "teacher")
    (tmp_path / "texts.txt").write_text("\n".join(tiny_models.sentences(8)))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return str(tmp_path / "recipe.yaml")


def said(capsys, *arguments, code=0):
    assert run(["estimate", *map(str, arguments)]) == code
    return capsys.readouterr()


def document(capsys, *arguments):
    return json.loads(said(capsys, *arguments, "--json").out)


@pytest.mark.usefixtures("one_operator_table")
def test_a_recipe_is_predicted_before_anything_is_trained(recipe, capsys):
    found = document(capsys, recipe, "--target", ORIN, "--lengths", "8,32")
    assert {each["mode"] for each in found["comparisons"]} >= {"MAXN", "MODE_15W", "MODE_30W", "MODE_50W"}
    assert {row["method"] for row in found["rows"]} == {"fp32", "int8"}
    assert found["predicted"] is True
    for each in found["comparisons"]:
        assert each["speedup"] == pytest.approx(each["dense"]["latency_ms"] / each["efficient"]["latency_ms"])
    out = io.StringIO()
    show_estimate(found, out)
    first = out.getvalue().splitlines()[0]
    assert re.fullmatch(
        r"(At most \S+ x faster than dense|No faster than dense \(\S+ x\)) at 32 tokens on jetson-agx-orin-64gb "
        r"\(MODE_30W\), pays .*\. Predicted, not measured\.",
        first,
    ), first
    assert "each kernel takes 10,000 GPU cycles" in out.getvalue()


def test_the_candidates_of_a_bundle_are_ordered_by_their_latency(candidates, capsys):
    out = said(capsys, candidates.path, "--target", PI, "--lengths", "64,1024").out
    assert re.match(r"About \S+ x faster than dense at 1024 tokens on raspberry-pi-5, pays from .* tokens", out)
    assert "all candidates, the fastest first:" in out
    rows = [row for row in predicted(candidates, load_device(PI), [64, 1024]) if row.length == 1024]
    assert [row.side for row in rows] == ["efficient", "dense"]
    assert rows[0].latency_ms < rows[1].latency_ms
    assert all(row.energy_mj == pytest.approx(4 * 3.175 * row.latency_ms) for row in rows)


def test_a_bundle_for_another_runtime_is_refused(candidates, capsys):
    message = said(capsys, candidates.path, "--target", ORIN, code=2).err
    assert "no graph is for tensorrt, which jetson-agx-orin-64gb runs: there are fp32" in message


def test_a_length_that_the_model_does_not_take_is_refused(recipe, capsys):
    message = said(capsys, recipe, "--target", ORIN, "--lengths", "64", code=2).err
    assert "64 tokens are more than the 32 that the model takes" in message
    assert "model.extend_positions" in message


def test_a_profile_without_peaks_says_so(candidates, capsys):
    message = said(capsys, candidates.path, "--target", "rtx", code=2).err
    assert "the profile of rtx has no peaks, which an estimate needs" in message
    assert "extends: rtx" in message


def test_an_unknown_device_is_answered_with_the_nearest(candidates, capsys):
    assert (
        "unknown device 'jetson-agx-orin'" in said(capsys, candidates.path, "--target", "jetson-agx-orin", code=2).err
    )


def test_a_tampered_bundle_is_refused(candidates, capsys):
    graph = next(candidates.path.glob("candidates/*/model.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1])
    assert str(graph.name) in said(capsys, candidates.path, "--target", ORIN, code=2).err


def test_an_unknown_recipe_is_answered_with_the_nearest(capsys):
    assert "no recipe is called 'minilm-hedgeho'" in said(capsys, "minilm-hedgeho", "--target", ORIN, code=2).err


@pytest.mark.parametrize(
    ("of", "speedup", "pays", "said"),
    [
        (
            "recipe",
            1.62,
            (362, 297.0),
            "At most 1.6 x faster than dense at 512 tokens on board (25W), pays from about 300",
        ),
        ("bundle", 1.62, (16, None), "About 1.6 x faster than dense at 512 tokens on board (25W), pays from 16"),
        (
            "recipe",
            0.8,
            (None, None),
            "No faster than dense (0.8 x) at 512 tokens on board (25W), pays at no length up to",
        ),
    ],
)
def test_the_first_sentence_has_the_gain_and_the_length_it_pays_from(of, speedup, pays, said):
    found = {
        "of": of, "target": "board", "default_mode": "25W", "unit": "tokens",
        "comparisons": [{"mode": "25W", "length": 512, "speedup": speedup}],
        "pays": [{"mode": "25W", "tried": [16, 8192], "pays_from": pays[0], "estimate": pays[1]}],
    }  # fmt: skip
    (sentence,) = headlines(found)
    assert sentence.startswith(said)
    assert sentence.endswith(". Predicted, not measured.")
