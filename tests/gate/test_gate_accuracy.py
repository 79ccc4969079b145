"""Accuracy by paired bootstrap, on outputs that are written down."""

from __future__ import annotations

import numpy as np
import pytest

from edgeattn import metrics
from edgeattn.gate.accuracy import judge
from edgeattn.gate.rule import Verdict

ACCURACY = metrics.metric("image-classification", "accuracy")


def classified(wrong, count=400, *, wrong_teacher=(), of=None):
    """Outputs [count, 10] that are wrong in the rows `wrong`, and the arrays that they are scored against."""
    labels = np.arange(count) % 10

    def logits(rows):
        chosen = labels.copy()
        chosen[list(rows)] = (chosen[list(rows)] + 1) % 10
        return np.eye(10, dtype=np.float32)[chosen]

    arrays = {"label.classes": labels, "reference.logits": logits(wrong_teacher)}
    return logits(wrong), logits(wrong if of is None else of), arrays


def judged(candidate, baseline, arrays, share=0.97, metric=ACCURACY):
    kept = {side: {metric.kept.name: values} for side, values in (("candidate", candidate), ("baseline", baseline))}
    return judge(metric, share, kept, arrays, ignore=0.01)


def test_above_its_floor_with_room_passes():
    found = judged(*classified(range(2), of=range(1)))
    assert found.verdict is Verdict.PASS
    assert (found.candidate, found.teacher, found.floor) == (0.995, 1.0, 0.97)
    assert found.low > 0


def test_below_its_floor_fails_with_both_numbers():
    found = judged(*classified(range(20), of=range(0)))
    assert found.verdict is Verdict.FAIL
    assert found.why == "accuracy is 0.9500, its floor is 0.9700"


def test_just_above_its_floor_and_worse_than_the_baseline_cannot_be_told():
    found = judged(*classified(range(11), of=range(0)))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.low < 0
    assert found.why == "400 held-out samples are too few to tell it from its floor 0.9700"


def test_an_unchanged_model_passes_however_near_its_floor_it_is():
    """The same errors on the same samples: the paired loss against the baseline is exactly 0."""
    found = judged(*classified(range(12)))
    assert (found.verdict, found.worse) == (Verdict.PASS, 0.0)


def test_not_finite_fails():
    candidate, baseline, arrays = classified(())
    candidate[3, 3] = np.nan
    assert judged(candidate, baseline, arrays).why == "accuracy is n/a, its floor is 0.9700"


def test_a_metric_for_which_less_is_better():
    perplexity = metrics.metric("text-generation", "perplexity")
    mask = np.ones((60, 9), dtype=np.int64)
    rng = np.random.default_rng(0)
    teacher = rng.gamma(2.0, size=(60, 9)).astype(np.float32)
    arrays = {"input.attention_mask": mask, "reference.next_token_losses": teacher}
    assert judged(teacher - 0.1, teacher, arrays, 0.95, perplexity).verdict is Verdict.PASS
    worse = judged(teacher + 0.3, teacher, arrays, 0.95, perplexity)
    assert worse.verdict is Verdict.FAIL
    assert worse.candidate > worse.floor > worse.teacher


def test_scored_pairs_are_what_is_drawn_again():
    spearman = metrics.metric("text-embedding", "spearman")
    rng = np.random.default_rng(1)
    embeddings = rng.normal(size=(40, 8)).astype(np.float32)
    pairs = rng.integers(0, 40, size=(200, 2))
    gold = np.sum(embeddings[pairs[:, 0]] * embeddings[pairs[:, 1]], axis=1)
    arrays = {"label.pairs": pairs, "label.scores": gold, "reference.sentence_embedding": embeddings}
    assert judged(embeddings, embeddings, arrays, 0.99, spearman).verdict is Verdict.PASS
    noisy = embeddings + 0.1 * rng.normal(size=embeddings.shape).astype(np.float32)
    value = spearman.function(noisy, pairs, gold) / spearman.function(embeddings, pairs, gold)
    found = judged(noisy, embeddings, arrays, value - 1e-4, spearman)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "200 held-out samples" in found.why


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_outputs_give_the_same_verdict(seed):
    outputs = classified(range(11), of=range(seed))
    assert judged(*outputs) == judged(*outputs)
