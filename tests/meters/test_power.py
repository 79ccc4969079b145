"""Joules of a sensor of known power, in simulated time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import pytest

from edgeattn.meters.base import Scope, full_window_s, slowness
from edgeattn.meters.power import PowerTally
from edgeattn.meters.sampled import SampledMeter
from tests.meters.simulated import joules

# No multiples of the sensor's readings, which would put its edges at the same place between two readings.
FREQUENCIES_HZ = (0.13, 0.29, 0.47, 0.71, 0.97, 1.31)


def _square(frequency_hz: float) -> Callable[[float], float]:
    """12 W and 4 W in turn."""
    return lambda at_s: 12.0 if (at_s * frequency_hz) % 1 < 0.5 else 4.0


def _exact(frequency_hz: float, seconds: float = 10.0) -> float:
    """Joules of that square wave."""
    whole, rest = divmod(seconds * frequency_hz, 1)
    return 4.0 * seconds + 8.0 * (0.5 * whole + min(rest, 0.5)) / frequency_hz


def _ramp(at_s: float) -> float:
    return 3.0 + 0.9 * at_s + 1e-9 * math.sin(at_s)


def _noisy(at_s: float) -> float:
    return 7.0 + 0.01 * math.sin(91 * at_s)


@pytest.mark.parametrize("frequency_hz", FREQUENCIES_HZ)
@pytest.mark.parametrize("late_s", [0.0, 0.0137, 0.049])
def test_a_square_wave_is_within_one_percent(frequency_hz: float, late_s: float) -> None:
    assert joules(_square(frequency_hz), late_s=late_s) == pytest.approx(_exact(frequency_hz), rel=0.01)


@pytest.mark.parametrize("frequency_hz", FREQUENCIES_HZ)
def test_with_ten_readings_a_second_it_is_within_two_percent(frequency_hz: float) -> None:
    assert joules(_square(frequency_hz), period_s=0.1) == pytest.approx(_exact(frequency_hz), rel=0.02)


def test_a_ramp_is_exact() -> None:
    assert joules(_ramp) == pytest.approx(3.0 * 10 + 0.9 * 50, rel=1e-6)


def test_a_ramp_with_a_dropout_is_within_one_percent() -> None:
    assert joules(_ramp, lost=lambda at_s: 4.0 < at_s < 4.4) == pytest.approx(75.0, rel=0.01)


@pytest.mark.parametrize("frequency_hz", [0.29, 0.97])
def test_three_lost_readings_move_a_square_wave_by_one_percent_wherever_they_are(frequency_hz: float) -> None:
    power, exact = _square(frequency_hz), _exact(frequency_hz)
    whole = joules(power)
    for place in range(20, 480, 7):
        start_s = place / 50
        lossy = joules(power, lost=lambda at_s, start_s=start_s: start_s < at_s < start_s + 0.15)  # type: ignore[misc]
        assert abs(lossy - whole) / exact < 0.01


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
