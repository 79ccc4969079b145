"""One look at one series: bounds against hand calculation and scipy, and the order of the verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from edgeattn.errors import InputError
from edgeattn.gate.rule import Look, Rule, Verdict, standard_deviation

FIRST, SECOND, LAST = Rule().looks


def test_the_bounds_of_the_first_look_are_the_extremes():
    """2^-10 is 0.00098: with ten pairs, only the sign pattern of all or none is rarer than one in a thousand."""
    differences = [0.021, 0.034, 0.027, 0.025, 0.030, 0.022, 0.028, 0.031, 0.024, 0.026]
    finding = Rule().judge(differences, FIRST)
    assert math.log(finding.low) == pytest.approx(0.021)
    assert math.log(finding.high) == pytest.approx(0.034)
    # The median of the 55 averages of two, each with itself included.
    assert finding.ratio == pytest.approx(math.exp(0.0265), abs=2e-4)
    assert finding.verdict is Verdict.FAIL


@pytest.mark.parametrize("look", Rule().looks)
def test_the_bounds_are_where_scipys_one_sided_test_turns(look):
    differences = np.random.default_rng(look.pairs).normal(0.02, 0.03, size=look.pairs)
    finding = Rule().judge(list(differences), look)
    for bound, sides, inward in ((finding.low, "greater", 1e-9), (finding.high, "less", -1e-9)):
        outside = stats.wilcoxon(differences - math.log(bound) + inward, alternative=sides, method="exact").pvalue
        inside = stats.wilcoxon(differences - math.log(bound) - inward, alternative=sides, method="exact").pvalue
        assert outside <= look.alpha < inside


def test_the_chances_of_all_looks_are_half_a_percent():
    assert sum(look.alpha for look in Rule().looks) == pytest.approx(0.005)


def test_a_change_between_ignore_and_catch_needs_more_pairs_and_then_fails():
    rule = Rule(0.01, 0.05)
    between = [math.log(1.03) + each for each in (-0.03, -0.02, -0.01, -0.004, -0.002, 0.002, 0.004, 0.01, 0.02, 0.03)]
    assert rule.judge(between, FIRST).verdict is None
    tight = [math.log(1.03) + each / 10 for each in np.linspace(-0.03, 0.03, 10)]
    assert rule.judge(tight, FIRST).verdict is Verdict.FAIL


def test_failing_comes_before_passing():
    """A change of 3 % known to 0.1 % is both more than what is ignored and less than what must be caught."""
    assert Rule(0.01, 0.05).judge([0.030, 0.0301] * 5, FIRST).verdict is Verdict.FAIL


def test_too_few_pairs_for_the_chance_decide_nothing():
    finding = Rule().judge([0.5] * 9, FIRST)
    assert (finding.verdict, finding.pairs) == (None, 9)


def test_the_detectable_slowdown_grows_with_the_noise_and_holds():
    rng = np.random.default_rng(0)
    small, large = (
        Rule().judge(list(rng.normal(0, spread, size=40)), LAST).minimum_detectable for spread in (0.01, 0.04)
    )
    assert 0.01 < small < large
    caught = sum(
        Rule().judge(list(rng.normal(math.log1p(large), 0.04, size=40)), LAST).verdict is Verdict.FAIL
        for _ in range(300)
    )
    assert caught / 300 > math.sqrt(0.95) - 0.03


def test_the_standard_deviation_is_that_of_the_bulk():
    differences = list(np.random.default_rng(1).normal(0, 0.03, size=40))
    assert standard_deviation(differences) == pytest.approx(0.03, rel=0.3)
    assert standard_deviation([*differences[:-1], 5.0]) == pytest.approx(0.03, rel=0.3)
    assert standard_deviation([0.1]) is None


def test_a_rule_that_ignores_what_it_should_catch_is_refused():
    with pytest.raises(InputError, match=r"ignore 5.0% is not less than catch 5.0%\n  fix: catch a larger change"):
        Rule(0.05, 0.05)
    assert Rule(0.05, 0.051, (Look(10, 0.001),)).catch == 0.051
