"""The decision over looks, metrics and runs, on pairs that were written down."""

from __future__ import annotations

import pytest
from paired_sources import ENERGY, P50, Given, around

from edgeattn.gate.rule import Rule, Verdict
from edgeattn.gate.sequential import decide, run

SLOW, SAME = 0.10, 0.0
RULES = {P50: Rule()}


def given(*runs):
    """A factory of sources, and those that it has made."""
    made = [Given(each) for each in runs]
    return made, lambda number, _keys: made[number]


def test_no_change_passes_at_the_first_look():
    made, source = given({P50: around(SAME, 0.02)})
    decisions, runs = decide(source, RULES)
    assert decisions[P50].verdict is Verdict.PASS
    assert (made[0].taken, len(runs)) == (10, 1)


def test_a_failure_is_measured_twice():
    made, source = given({P50: around(SLOW, 0.02)}, {P50: around(SLOW, 0.02)})
    decisions, runs = decide(source, RULES)
    assert decisions[P50].verdict is Verdict.FAIL
    assert [each.taken for each in made] == [10, 10]
    assert [finding.verdict for finding in decisions[P50].runs] == [Verdict.FAIL, Verdict.FAIL]
    assert len(runs) == 2


@pytest.mark.parametrize("second", [around(SAME, 0.02), around(0.03, 0.2)])
def test_a_failure_that_does_not_repeat_is_inconclusive(second):
    _, source = given({P50: around(SLOW, 0.02)}, {P50: second})
    decision = decide(source, RULES)[0][P50]
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.why == "the failure of the first run did not repeat in the second"


def test_noise_asks_for_more_pairs_until_the_last_look():
    made, source = given({P50: around(0.03, 0.2)})
    decision = decide(source, RULES)[0][P50]
    assert (decision.verdict, decision.why) == (Verdict.INCONCLUSIVE, "undecided after 40 pairs")
    assert made[0].taken == 40
    assert decision.runs[0].minimum_detectable > 0.05


def test_a_metric_keeps_the_verdict_of_its_look_and_only_the_others_are_measured_on():
    noisy = around(0.03, 0.2)
    made, source = given({P50: around(SAME, 0.02, 10) + [1.0] * 30, ENERGY: noisy})
    decisions, _ = decide(source, {P50: Rule(), ENERGY: Rule()})
    assert decisions[P50].verdict is Verdict.PASS
    assert decisions[P50].runs[0].pairs == 10
    assert decisions[ENERGY].verdict is Verdict.INCONCLUSIVE
    assert made[0].wanted[9:11] == [frozenset({P50, ENERGY}), frozenset({ENERGY})]


def test_only_what_failed_is_measured_again():
    made, source = given({P50: around(SLOW, 0.02), ENERGY: around(SAME, 0.02)}, {P50: around(SLOW, 0.02)})
    decisions, _ = decide(source, {P50: Rule(), ENERGY: Rule()})
    assert (decisions[P50].verdict, decisions[ENERGY].verdict) == (Verdict.FAIL, Verdict.PASS)
    assert set(made[1].wanted) == {frozenset({P50})}


def test_what_is_advisory_asks_for_no_more_pairs_and_for_no_second_run():
    made, source = given({P50: around(SAME, 0.02), ENERGY: around(0.03, 0.2)})
    decisions, runs = decide(source, {P50: Rule(), ENERGY: Rule()}, asking=frozenset({P50}))
    assert (made[0].taken, len(runs)) == (10, 1)
    assert decisions[ENERGY].verdict is Verdict.INCONCLUSIVE
    made, source = given({P50: around(SLOW, 0.02)})
    decisions, runs = decide(source, RULES, asking=frozenset())
    assert (decisions[P50].verdict, len(runs), made[0].taken) == (Verdict.FAIL, 1, 10)


def test_discarded_pairs_are_replaced():
    throttled = "the candidate engine did not become steady"
    made, source = given({P50: [throttled, throttled, *around(SAME, 0.02)]})
    decisions, runs = decide(source, RULES)
    assert (decisions[P50].verdict, made[0].taken) == (Verdict.PASS, 12)
    assert runs[0].discarded == [throttled, throttled]


def test_more_than_a_fifth_of_discarded_pairs_says_nothing():
    _, source = given({P50: [SLOW, "throttled", "throttled", SLOW, "hot", SLOW]})
    decision = decide(source, RULES)[0][P50]
    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.why == "3 of 5 pairs were discarded: throttled"


@pytest.mark.parametrize("pairs", [0, 7])
def test_a_sensor_that_fails_leaves_its_metric_inconclusive_and_asks_for_no_more(pairs):
    made, source = given({P50: around(SAME, 0.02), ENERGY: around(SAME, 0.02)[:pairs]})
    decisions, _ = decide(source, {P50: Rule(), ENERGY: Rule()})
    assert decisions[P50].verdict is Verdict.PASS
    assert decisions[ENERGY].verdict is Verdict.INCONCLUSIVE
    assert decisions[ENERGY].why == "it could not be measured in every pair"
    assert made[0].taken == 10


def test_nothing_to_time_takes_no_pair():
    source = Given({})
    assert run(source, {}).findings == {}
    assert source.taken == 0
