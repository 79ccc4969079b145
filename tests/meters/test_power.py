"""Joules of a sensor of known power, in simulated time."""

from __future__ import annotations

import math
import time

import pytest

from edgeattn.meters.base import Scope, full_window_s, slowness
from edgeattn.meters.power import PowerTally
from edgeattn.meters.sampled import SampledMeter
from tests.meters.simulated import joules


def _square(at_s: float) -> float:
    """12 W and 4 W in turn, 1.7 times a second: no multiple of the sensor's readings."""
    return 12.0 if (at_s * 1.7) % 1 < 0.5 else 4.0


def _ramp(at_s: float) -> float:
    return 3.0 + 0.9 * at_s + 1e-9 * math.sin(at_s)


def _noisy(at_s: float) -> float:
    return 7.0 + 0.01 * math.sin(91 * at_s)


@pytest.mark.parametrize("period_s", [0.05, 0.1])
@pytest.mark.parametrize("late_s", [0.0, 0.0137, 0.049])
def test_a_square_wave_is_within_one_percent(period_s: float, late_s: float) -> None:
    exact = sum(_square(step / 1e4) for step in range(100_000)) / 1e4

    assert joules(_square, period_s=period_s, late_s=late_s) == pytest.approx(exact, rel=0.01)


def test_a_ramp_is_exact() -> None:
    assert joules(_ramp) == pytest.approx(3.0 * 10 + 0.9 * 50, rel=1e-6)


def test_a_short_dropout_is_bridged_within_one_percent() -> None:
    assert joules(_ramp, lost=lambda at_s: 4.0 < at_s < 4.4) == pytest.approx(75.0, rel=0.01)
    exact = sum(_square(step / 1e4) for step in range(100_000)) / 1e4
    # What the sensor missed in these 0.2 s cannot be known; it is 2 % of the window.
    assert joules(_square, lost=lambda at_s: 4.0 < at_s < 4.2) == pytest.approx(exact, rel=0.01)


def test_the_window_counts_from_its_start_to_its_end_and_not_between_readings() -> None:
    assert joules(_noisy, seconds=1.234, late_s=0.049) == pytest.approx(7.0 * 1.234, rel=2e-3)


def test_a_slow_sensor_takes_longer_windows() -> None:
    class Slow(SampledMeter):
        name, poll_s = "slow", 1.0
        scope: Scope = "wall"

        def open(self) -> PowerTally:
            raise NotImplementedError

    slow, fast = Slow(), Slow()
    fast.poll_s = 0.05
    assert (full_window_s(slow), slowness(slow)) == (100.0, 10.0)
    assert (full_window_s(fast), slowness(fast)) == (10.0, 1.0)


def test_a_real_window_has_a_thread_that_reads_and_ends() -> None:
    class Ramp(SampledMeter):
        name, poll_s = "ramp", 0.005
        scope: Scope = "module"

        def open(self) -> PowerTally:
            return PowerTally(lambda: 5 + time.monotonic() % 1e-3, "a test", period_s=self.poll_s).start()

    meter = Ramp()
    with meter.window() as window:
        time.sleep(0.1)

    assert window.reason is None
    assert window.energy is not None
    assert 0.1 <= window.energy.seconds < 5
    assert window.energy.watts == pytest.approx(5.0, rel=0.01)
    assert (window.energy.scope, window.energy.source) == ("module", "a test")
