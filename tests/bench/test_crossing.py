"""The length from which a variant is faster, for given ratios."""

from __future__ import annotations

import pytest

from edgeattn.bench.crossing import Crossing, crossing


def at(ratio, width=0.1):
    return {"ratio": ratio, "low": ratio - width, "high": ratio + width, "confidence": 0.97}


def test_pays_from_the_first_length_after_which_every_interval_is_above_1():
    found = crossing({128: at(0.5), 256: at(1.05), 512: at(2.0), 1024: at(4.0)})
    assert found.pays_from == 512
    assert 128 < found.estimate < 256


def test_a_length_that_pays_before_one_that_does_not_is_no_start():
    assert crossing({64: at(1.5), 128: at(0.8), 256: at(1.6)}).pays_from == 256


def test_one_that_pays_at_all_lengths_has_no_crossing_to_estimate():
    assert crossing({64: at(1.5), 128: at(3.0)}) == Crossing(64, None)


@pytest.mark.parametrize(
    "speedups", [{}, {64: at(0.5)}, {64: at(0.5), 128: at(0.9)}, {64: at(0.5), 128: at(1.5), 256: at(0.9)}]
)
def test_one_that_is_not_faster_at_the_longest_pays_nowhere(speedups):
    assert crossing(speedups) == Crossing(None, None)


def test_noise_makes_nothing_pay():
    found = crossing({64: at(0.5, 0.1), 128: at(2.0, 1.5)})
    assert found.pays_from is None
    assert found.estimate == pytest.approx(64 * 2**0.5)


def test_the_estimate_is_a_straight_line_in_logarithms():
    # ratio = (N / 300)^0.8
    speedups = {n: at((n / 300) ** 0.8) for n in (64, 256, 1024, 4096)}
    assert crossing(speedups).estimate == pytest.approx(300)


def test_the_estimate_is_that_of_the_last_crossing():
    found = crossing({64: at(0.5), 128: at(2.0), 256: at(0.5), 512: at(2.0)})
    assert found.estimate == pytest.approx(256 * 2**0.5)


def test_without_an_interval_the_ratio_says_it():
    bare = {"low": None, "high": None, "confidence": None}
    assert crossing({64: {"ratio": 0.9, **bare}, 128: {"ratio": 1.1, **bare}}).pays_from == 128
