"""Causal language models: what is kept of their logits, and the metrics of it, against torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tiny_models
import torch
from torch.nn.functional import cross_entropy

from edgeattn.data.rows import Rows
from edgeattn.metrics import likeliest_tokens, next_token_accuracy, next_token_losses, perplexity, score
from edgeattn.stages.evidence import evidence, golden


@pytest.fixture
def task(tmp_path):
    return tiny_models.text_generation_task(tmp_path)


@pytest.fixture
def model():
    return tiny_models.make("llama", layers=1, head="LlamaForCausalLM")[0]


def test_losses_are_torchs_cross_entropy_of_the_next_token(task, model):
    samples = task.encode(tiny_models.text_rows(12), held_out=True)
    feeds = {name: torch.from_numpy(x) for name, x in samples.items()}
    with torch.no_grad():
        logits = task.exportable(model)(**feeds)["logits"]
    losses = next_token_losses({"logits": logits.numpy()}, samples)
    targets = torch.where(feeds["attention_mask"].bool(), feeds["input_ids"], -100)[:, 1:]
    expected = cross_entropy(logits[:, :-1].transpose(1, 2), targets, reduction="none")
    np.testing.assert_allclose(losses[:, :-1], expected, atol=1e-5)
    assert (losses[:, -1] == 0).all()
    mean = cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten())
    assert perplexity(losses, samples["attention_mask"]) == pytest.approx(math.exp(mean), rel=1e-5)


def test_a_model_that_knows_the_text_has_perplexity_1():
    ids, mask = np.array([[3, 1, 2, 0], [2, 2, 0, 0]]), np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    logits = 50 * np.eye(4, dtype=np.float32)[np.roll(ids, -1, axis=1)]
    inputs = {"input_ids": ids, "attention_mask": mask}
    losses, likeliest = (of({"logits": logits}, inputs) for of in (next_token_losses, likeliest_tokens))
    assert perplexity(losses, mask) == pytest.approx(1)
    assert next_token_accuracy(likeliest, ids, mask) == 1
    guess = np.zeros_like(logits)  # every token alike
    assert perplexity(next_token_losses({"logits": guess}, inputs), mask) == pytest.approx(4)
    one = np.ones((2, 1), int)
    assert math.isnan(perplexity(np.zeros((2, 1)), one))
    assert math.isnan(next_token_accuracy(one, one, one))


def test_logits_that_are_not_finite_show_in_the_losses(task):
    samples = task.encode(Rows({"text": ["a b c"]}), held_out=True)
    logits = np.zeros((1, samples["input_ids"].shape[1], 48), np.float32)
    logits[0, 1, 7] = np.nan
    assert not np.isfinite(next_token_losses({"logits": logits}, samples)).all()


def test_of_the_teacher_only_numbers_per_token_are_kept(task, model):
    samples = task.encode(tiny_models.text_rows(10), held_out=True)
    arrays = evidence(task, samples, task.kept(task.exportable(model), samples))
    shape = samples["input_ids"].shape
    assert {name: x.shape for name, x in arrays.items() if name.startswith("reference.")} == {
        "reference.next_token_losses": shape, "reference.likeliest_tokens": shape,
    }  # fmt: skip


def test_golden_samples_are_whole_logits_and_fewer_where_those_are_large(task, model, monkeypatch):
    samples = task.encode(tiny_models.text_rows(10), held_out=True)
    models = {"student": task.exportable(model), "teacher": task.exportable(model)}
    found = golden(task, samples, models)
    length = found["input.input_ids"].shape[1]
    assert found["student.logits"].shape[0] == 8
    assert found["student.logits"].shape[2] == tiny_models.VOCABULARY
    one = length * tiny_models.VOCABULARY * 4
    monkeypatch.setattr("edgeattn.stages.evidence._GOLDEN_BYTES", 3 * one)
    assert 1 <= len(golden(task, samples, models)["student.logits"]) < 8


def test_every_text_counts_even_one_that_is_given_twice(task):
    assert len(task.encode(Rows({"text": ["a b", "c", "a b"]}), held_out=True)["input_ids"]) == 3


def test_the_best_model_of_two_has_the_lower_perplexity(task, model):
    """Trained for a few steps on the held-out texts themselves."""
    samples = task.encode(tiny_models.text_rows(30), held_out=True)
    trained = tiny_models.make("llama", layers=1, head="LlamaForCausalLM")[0].train()
    optimizer = torch.optim.Adam(trained.parameters(), lr=1e-2)
    for _ in range(15):
        for _, feeds in task.batches(samples, 32):
            labels = torch.where(feeds["attention_mask"].bool(), feeds["input_ids"], -100)
            loss = trained(**feeds, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    before, after = (task.kept(task.exportable(each), samples) for each in (model, trained))
    arrays = evidence(task, samples, before)
    first, second = (score(task.kind, each, arrays) for each in (before, after))
    assert second["perplexity"] < first["perplexity"] / 2
    assert second["next_token_accuracy"] > first["next_token_accuracy"]
    assert first["teacher_agreement"] == 1 > second["teacher_agreement"]


def test_a_model_that_sees_later_tokens_is_refused(task, model):
    samples = task.encode(tiny_models.text_rows(6), held_out=True)
    assert list(task.misfits(model, samples)) == []
    encoder = tiny_models.make("bert", layers=1, head="BertLMHeadModel")[0]
    ((place, error),) = task.misfits(encoder, samples)
    assert place == ("model", "source")
    assert str(error).startswith("BertLMHeadModel is no causal language model: its logits depend on later tokens")
    decoder = tiny_models.make("bert", layers=1, head="BertLMHeadModel", is_decoder=True)[0]
    assert list(task.misfits(decoder, samples)) == []
