"""The training curve that travels with a bundle."""

from __future__ import annotations

from edgeattn.distill.curve import POINTS, Curve


def test_few_steps_are_all_there() -> None:
    curve = Curve(3)
    for step, loss in ((1, 3.0), (2, 2.0), (3, 1.0)):
        curve.add(step, loss)
    assert curve.points == [[1, 3.0], [2, 2.0], [3, 1.0]]


def test_many_steps_are_means_of_equal_runs() -> None:
    curve = Curve(1000)
    for step in range(1, 1001):
        curve.add(step, float(step))
    assert len(curve.points) <= POINTS
    assert curve.points[0] == [17, 9.0]
    assert curve.points[-1] == [1000, 993.5]  # of the last 14 steps


def test_a_curve_goes_on_where_it_was_cut_off() -> None:
    whole, first = Curve(200), Curve(200)
    for step in range(1, 201):
        whole.add(step, 1 / step)
    for step in range(1, 71):
        first.add(step, 1 / step)
    second = Curve(200, first.state)
    for step in range(71, 201):
        second.add(step, 1 / step)
    assert second.points == whole.points
