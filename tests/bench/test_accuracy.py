"""`check`: the shipped engine against its golden samples and its floor."""

from __future__ import annotations

import json

import pytest
import tiny_bundle

from edgeattn import metrics
from edgeattn.bench.accuracy import check


def test_a_sound_bundle_passes_with_the_numbers_that_say_so(tiny):
    document = check(tiny)
    assert (document["passed"], document["reasons"]) == (True, [])
    drift = document["golden"]["sentence_embedding"]
    assert drift["student"]["max_abs"] < 1e-5
    assert drift["teacher"]["max_abs"] > drift["student"]["max_abs"]
    evaluation = tiny.arrays("eval")
    teacher = metrics.score("text-embedding", metrics.references(evaluation), evaluation)
    spearman = document["metrics"]["spearman"]
    assert spearman["teacher"] == pytest.approx(teacher["spearman"])
    assert spearman["floor"] == pytest.approx(0.95 * teacher["spearman"])
    assert spearman["value"] >= spearman["floor"]
    assert document["metrics"]["teacher_cosine"]["passed"] is None
    json.dumps(document, allow_nan=False)


def test_nan_in_the_output_fails_and_stays_out_of_the_document(tmp_path):
    document = check(tiny_bundle.make(tmp_path / "tiny", efficient=tiny_bundle.graph(poison=True)))
    assert not document["passed"]
    assert "values that are not finite on the evaluation data" in " ".join(document["reasons"])
    assert document["metrics"]["spearman"] == {
        "value": None,
        "teacher": pytest.approx(0.97, abs=0.02),
        "floor": pytest.approx(0.92, abs=0.02),
        "passed": False,
    }
    json.dumps(document, allow_nan=False)


def test_another_function_fails_by_golden_samples_and_by_metric(tmp_path):
    document = check(tiny_bundle.make(tmp_path / "tiny", efficient=tiny_bundle.graph(seed=5)))
    golden, metric = document["reasons"]
    assert golden.startswith("output 'sentence_embedding': cosine ")
    assert metric.startswith("spearman is ")


def test_a_constant_output_has_no_rank_correlation(tmp_path):
    document = check(tiny_bundle.make(tmp_path / "tiny", efficient=tiny_bundle.constant()))
    assert document["metrics"]["spearman"]["value"] is None
    assert any(reason.startswith("spearman is n/a, its floor is 0.9") for reason in document["reasons"])


def test_an_accept_metric_that_vanished_fails(tiny):
    task = tiny.manifest.task.model_copy(update={"accept_metric": "bleu"})
    tiny.manifest = tiny.manifest.model_copy(update={"task": task})
    assert check(tiny)["reasons"] == ["accept_metric bleu is not a metric of the bundle's task"]
