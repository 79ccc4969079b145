"""The fewest layers are left in float, the worst first."""

from __future__ import annotations

import pytest

from edgeattn.quantize.fallback import leave_in_float

LOSS = {"a": 0.01, "b": 0.2, "c": 0.0, "d": 0.05, "e": 0.02}


@pytest.mark.parametrize(
    ("least", "left"),
    [(0.5, []), (0.8, ["b"]), (0.97, ["b", "d"]), (0.985, ["b", "d", "e"]), (1.0, ["b", "d", "e", "a"])],
)
def test_the_worst_layers_are_left_in_float_until_it_holds(least, left):
    def cosine(in_float):
        return 1 - sum(loss for layer, loss in LOSS.items() if layer not in in_float)

    found, value = leave_in_float(cosine, LOSS, least)
    assert found == left
    assert value == cosine(left)
    assert value >= least


def test_bad_layers_that_hide_each_other_are_found():
    """Putting back only one of them changes nothing."""

    def cosine(in_float):
        return 0.5 if {"b", "d"} - {*in_float} else 0.99

    assert cosine(["b"]) == cosine(["d"]) == cosine([])
    left, value = leave_in_float(cosine, {layer: 1 - cosine({*LOSS} - {layer}) for layer in LOSS}, 0.98)
    assert (sorted(left), value) == (["b", "d"], 0.99)


def test_where_nothing_helps_all_layers_are_left_in_float():
    found, value = leave_in_float(lambda _: -1.0, LOSS, 0.99)
    assert sorted(found) == list(LOSS)
    assert value == -1.0


def test_the_check_runs_few_times():
    asked = 0

    def cosine(in_float):
        nonlocal asked
        asked += 1
        return len(in_float) / 64

    left, _ = leave_in_float(cosine, {str(number): 1 / (1 + number) for number in range(64)}, 0.5)
    assert left == [str(number) for number in range(32)]
    assert asked <= 10
