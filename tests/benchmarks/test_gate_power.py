"""The simulation's shapes of noise, and its goals with few gates."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gate_power import SHAPES, scale, simulate


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_the_spread_that_it_is_scaled_to_and_no_side(name):
    noise = SHAPES[name]
    differences = np.diff(noise(np.random.default_rng(1), 200_000), axis=1)[:, 0] * scale(noise)
    assert np.std(differences) == pytest.approx(1, rel=0.2)  # Student's t has no fourth moment
    assert np.mean(differences > 0) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("name", SHAPES)
def test_the_goals_hold_with_few_gates(name):
    gates = 60
    assert simulate(SHAPES[name], 0.01, gates)[0]["FAIL"] == 0
    assert simulate(SHAPES[name], 0.05, gates)[0]["FAIL"] >= 0.9 * gates
    verdicts, pairs = simulate(SHAPES[name], 0.0, gates)
    assert verdicts["PASS"] >= 0.9 * gates
    assert pairs < 20
