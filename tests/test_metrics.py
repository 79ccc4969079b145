"""Metrics against scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors

from edgeattn import metrics
from edgeattn.errors import DataError


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("levels", [3, 10, 10_000])
def test_spearman_is_scipys_with_and_without_ties(rng, levels):
    x, y = rng.integers(0, levels, size=(2, 200)).astype(float)
    assert metrics.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    np.testing.assert_array_equal(metrics.ranks(x), stats.rankdata(x))


def test_spearman_of_a_constant_is_not_a_number():
    assert np.isnan(metrics.spearman(np.ones(5), np.arange(5)))


def test_mean_cosine_is_sklearns_diagonal(rng):
    a, b = rng.normal(size=(2, 30, 8))
    assert metrics.mean_cosine(a, b) == pytest.approx(np.diag(cosine_similarity(a, b)).mean())
    assert metrics.mean_cosine(np.zeros((2, 3)), np.ones((2, 3))) == 0.0


def test_top_k_overlap_is_that_of_sklearns_neighbours(rng):
    a = rng.normal(size=(60, 8))
    b = a + 0.3 * rng.normal(size=a.shape)

    def near(values):
        search = NearestNeighbors(n_neighbors=10, metric="cosine").fit(values)
        return search.kneighbors(return_distance=False)

    expected = np.mean([len(set(x) & set(y)) / 10 for x, y in zip(near(a), near(b), strict=True)])
    assert metrics.top_k_overlap(a, b) == pytest.approx(expected)
    assert metrics.top_k_overlap(a, a) == 1.0
    assert 0 < expected < 1


def test_top_k_overlap_does_not_call_everyone_a_neighbour(rng):
    a, b = rng.normal(size=(2, 8, 4))
    assert metrics.top_k_overlap(a, b, k=10) < 1.0
    with pytest.raises(DataError, match="2 samples have too few nearest neighbours"):
        metrics.top_k_overlap(a[:2], b[:2])


def test_accuracy_and_agreement(rng):
    logits, other = rng.normal(size=(2, 50, 4))
    labels = rng.integers(0, 4, size=50)
    assert metrics.accuracy(logits, labels) == accuracy_score(labels, logits.argmax(1))
    assert metrics.agreement(logits, other) == accuracy_score(logits.argmax(1), other.argmax(1))


def test_score_of_embeddings_and_of_the_teacher_itself(rng):
    teacher = rng.normal(size=(20, 8)).astype(np.float32)
    pairs = rng.integers(0, 20, size=(15, 2))
    gold = rng.random(15)
    evaluation = {"reference.sentence_embedding": teacher, "label.pairs": pairs, "label.scores": gold}
    scores = metrics.score("text-embedding", {"sentence_embedding": teacher}, evaluation)
    cosines = np.diag(cosine_similarity(teacher[pairs[:, 0]], teacher[pairs[:, 1]]))
    assert scores["spearman"] == pytest.approx(stats.spearmanr(cosines, gold).statistic)
    assert scores["teacher_cosine"] == pytest.approx(1.0)
    assert scores["teacher_top10_overlap"] == 1.0


def test_score_leaves_out_what_it_has_no_gold_for(rng):
    logits = rng.normal(size=(6, 3))
    scores = metrics.score("image-classification", {"logits": logits}, {"reference.logits": logits})
    assert scores == {"teacher_agreement": 1.0}


def test_score_names_what_does_not_fit(rng):
    logits = rng.normal(size=(6, 3))
    with pytest.raises(DataError, match=r"scored on 'reference.logits', which is missing"):
        metrics.score("image-classification", {"logits": logits}, {})
    with pytest.raises(DataError, match=r"shape \[5, 3\], the teacher's has \[6, 3\]"):
        metrics.score("image-classification", {"logits": logits[:5]}, {"reference.logits": logits})
    with pytest.raises(DataError, match="no metrics for task 'poetry'"):
        metrics.score("poetry", {}, {})
