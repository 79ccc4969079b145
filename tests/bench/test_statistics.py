"""Percentile floors and the paired interval, against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from edgeattn.bench.statistics import hodges_lehmann, outliers, percentile, ratio, signed_rank_counts


def test_a_percentile_under_its_floor_is_not_given():
    assert percentile(range(63), 90) is None
    assert percentile(range(64), 90) == pytest.approx(np.percentile(range(64), 90))
    assert percentile(range(661), 99) is None
    assert percentile([3.0], 50) == 3.0


def test_outliers_are_those_beyond_tukeys_outer_fence():
    even = [100.0] * 10 + [102.0] * 10  # quartiles 100 and 102: the fence is at 108
    assert outliers([*even, 107.0]) == 0
    assert outliers([*even, 109.0, 500.0]) == 2
    assert outliers([5.0]) == 0


@pytest.mark.parametrize("pairs", [2, 5, 6, 10, 20, 40])
def test_signed_rank_distribution_is_scipys(pairs):
    counts = np.array(signed_rank_counts(pairs), dtype=float)
    assert counts.sum() == 2.0**pairs
    ranks = np.arange(1, pairs + 1).astype(float)
    positive = np.where(np.arange(pairs) % 3 == 0, -ranks, ranks)
    w = ranks[positive > 0].sum()
    upper = counts[int(w) :].sum() / 2.0**pairs
    assert stats.wilcoxon(positive, alternative="greater", method="exact").pvalue == pytest.approx(upper)


def test_six_pairs_give_96_9_percent():
    estimate = hodges_lehmann([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert estimate.confidence == pytest.approx(1 - 2 / 64)
    assert (estimate.low, estimate.high) == (0.1, 0.6)
    assert estimate.value == pytest.approx(0.35)


def test_few_pairs_say_what_they_cover():
    assert hodges_lehmann([0.1, 0.2, 0.3]).confidence == pytest.approx(0.75)
    alone = hodges_lehmann([0.1])
    assert (alone.value, alone.low, alone.high, alone.confidence) == (0.1, None, None, None)


@pytest.mark.parametrize("pairs", [6, 10, 15])
def test_interval_is_where_scipys_exact_test_turns(pairs):
    d = np.random.default_rng(pairs).normal(size=pairs)
    estimate = hodges_lehmann(list(d))
    alpha = 1 - estimate.confidence
    assert alpha <= 0.05
    for bound, outward in ((estimate.low, -1e-9), (estimate.high, 1e-9)):
        # With the null value just outside, the test rejects at alpha; just inside, it does not.
        assert stats.wilcoxon(d - bound - outward, method="exact").pvalue <= alpha + 1e-12
        assert stats.wilcoxon(d - bound + outward, method="exact").pvalue > 0.05


def test_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = sum(e.low <= 0 <= e.high for e in (hodges_lehmann(list(rng.normal(size=6))) for _ in range(2000)))
    assert hits / 2000 == pytest.approx(0.969, abs=0.012)


def test_ratio_is_how_many_times_faster():
    estimate = ratio([20.0, 22.0, 40.0], [10.0, 11.0, 20.0])
    assert estimate.value == pytest.approx(2.0)
    assert estimate.low == pytest.approx(2.0)
    assert math.isclose(estimate.high, 2.0)
